"""How good an operator's judgement is, from a few questions asked in between: would you take over here, was it needed?

A takeover that was needed is a hit, a tick that went by although the operator would have taken over is a miss. All
takeovers are seen; misses are estimated from questions at random ticks that the policy drove. Rates of what nobody was
asked about are refused (ConfigError).
"""

from dataclasses import dataclass

import numpy as np

from robot.errors import ConfigError
from robot.evaluation import Success

PROMPTS = 5  # per session: more tires


@dataclass
class Audit:
    """Answers of one operator, and what they were asked about."""

    takeovers: int = 0
    quiet_ticks: int = 0  # of the policy that no takeover followed
    asked_quiet: int = 0
    would: int = 0  # "yes, here I would"
    asked_takeovers: int = 0
    unneeded: int = 0  # "no, that was for nothing"

    def note(self, *, was_taken: bool) -> None:
        """Count one tick of the policy."""
        self.takeovers += was_taken
        self.quiet_ticks += not was_taken

    def answer(self, *, was_taken: bool, wanted: bool) -> None:
        """Count the answer to one question: whether the operator, thinking twice, wants a takeover at that tick."""
        if was_taken:
            self.asked_takeovers += 1
            self.unneeded += not wanted
        else:
            self.asked_quiet += 1
            self.would += wanted

    @property
    def misses(self) -> Success:
        """Share of quiet ticks at which the operator would have taken over, with its interval."""
        return Success.of(self.would, self.asked_quiet)

    @property
    def needless(self) -> Success:
        """Share of takeovers that were for nothing."""
        return Success.of(self.unneeded, self.asked_takeovers)

    @property
    def hit(self) -> float:
        """Return beta: of the ticks that call for a takeover, the share that got one."""
        needed = self.takeovers * (1.0 - self.needless.value)
        missed = self.quiet_ticks * self.misses.value
        return needed / (needed + missed) if needed + missed else float("nan")

    @property
    def false_alarm(self) -> float:
        """Return the share of ticks that are fine and were taken over nevertheless."""
        needless = self.takeovers * self.needless.value
        fine = self.quiet_ticks * (1.0 - self.misses.value)
        return needless / (needless + fine) if needless + fine else float("nan")


def prompt_ticks(ticks: int, seed: int, prompts: int = PROMPTS) -> np.ndarray:
    """Return at which of a session's `ticks` to ask, in order, each at most once."""
    if ticks < prompts:
        raise ConfigError(f"a session of {ticks} ticks has no room for {prompts} questions")
    return np.sort(np.random.default_rng([seed, 30]).choice(ticks, prompts, replace=False))
