"""Fixed starts: the seeds that worlds are reset with, drawn per purpose so that no two purposes share them."""

from typing import Literal
from zlib import crc32

import numpy as np

Purpose = Literal["demonstration", "training", "evaluation"]


def start_seed(purpose: Purpose, seed: int, index: int) -> int:
    """Return the reset seed of one episode; equal arguments give equal starts on every machine."""
    entropy = [crc32(purpose.encode()), seed, index]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def evaluation_starts(count: int) -> list[int]:
    """Return the first `count` evaluation starts: the same for every policy, training seed and day."""
    return [start_seed("evaluation", 0, index) for index in range(count)]
