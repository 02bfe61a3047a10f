"""The checks A1 to A12 and A18 of `world_models.md`, section 9: each a function of a model and held-out clips."""
