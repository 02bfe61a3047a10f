"""Shared memory of the killed: a node that had no chance to clean up leaves its Fast DDS segment, tens of megabytes.

Beside each segment lies a lock file that its process holds for life, so a lock that can be had tells that the process
is dead, in whatever container it ran. Fast DDS asks in the same way, but cleans up its small port files only.
"""

import contextlib
import fcntl
from pathlib import Path

SHM = Path("/dev/shm")
SEGMENT, LOCK = "fastrtps_*", "_el"


def remove_leftovers(folder: Path = SHM) -> int:
    """Remove the segments of dead processes and return how many bytes that freed; what is not ours stays."""
    freed = 0
    for lock in folder.glob(f"{SEGMENT}{LOCK}"):
        segment = lock.with_name(lock.name.removesuffix(LOCK))
        if "_port" in segment.name:
            continue
        with contextlib.suppress(OSError), lock.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its process lives
            size = segment.stat().st_size
            segment.unlink()
            lock.unlink()
            freed += size
    return freed
