"""What is measured of a world model, as pure functions of arrays (`world_models.md`, section 9)."""
