"""IWR: interventions get half of every batch (Mandlekar et al. 2020); otherwise HG-DAgger."""

from policies.recipes.hg_dagger import NEEDS_PERSON, RETRAINS_BASE, finetune, presets

__all__ = ["NEEDS_PERSON", "PRESETS", "RETRAINS_BASE", "finetune"]
PRESETS = presets(weighting="iwr")
