"""Sirius: weights by demonstration, roll-out, what led to a takeover, intervention (Liu et al. 2023)."""

from policies.recipes.hg_dagger import NEEDS_PERSON, RETRAINS_BASE, finetune, presets

__all__ = ["NEEDS_PERSON", "PRESETS", "RETRAINS_BASE", "finetune"]
PRESETS = presets(weighting="sirius")
