"""DAgger: the policy drives, the person labels every visited state afterwards (Ross et al. 2011)."""

from policies.recipes.hg_dagger import NEEDS_PERSON, RETRAINS_BASE, finetune, presets

__all__ = ["NEEDS_PERSON", "PRESETS", "RETRAINS_BASE", "finetune"]
PRESETS = presets(relabels=True)
