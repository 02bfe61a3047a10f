"""Hints to the operating system that a thread keeps a rate: asked for where it is permitted, told where it is not.

They make a servo loop less late on a busy machine. They make nothing safe: the watchdogs do.
"""

import ctypes
import os
import resource
from dataclasses import dataclass

PRIORITY = 20  # of 1 to 99: above every ordinary thread, below the kernel's own interrupt threads at 50
NICE = -10
MCL_CURRENT, MCL_FUTURE = 1, 2  # of <sys/mman.h>


@dataclass(frozen=True, slots=True)
class RealTime:
    """What was granted to a thread, and what to do about what was not."""

    scheduling: str  # fifo, nice or ordinary
    memory_locked: bool
    advice: str = ""


def ask_for_real_time() -> RealTime:
    """Ask for the calling thread: fixed priority, else a better nice value; and for the process: its memory locked."""
    scheduling, locked = _schedule(), _lock_memory()
    wanted = []
    if scheduling != "fifo":
        wanted.append("rtprio 20")
    if not locked:
        wanted.append("memlock unlimited")
    advice = f"allow your user {' and '.join(wanted)} in /etc/security/limits.d, and log in again" if wanted else ""
    return RealTime(scheduling, locked, advice)


def _schedule() -> str:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))  # 0: this thread
    except OSError:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        except OSError:
            return "ordinary"
        return "nice"
    return "fifo"


def _lock_memory() -> bool:
    """Lock what is mapped now and later; not at all under a limit, which would make later allocations fail."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY:
        return False
    return ctypes.CDLL(None, use_errno=True).mlockall(MCL_CURRENT | MCL_FUTURE) == 0
