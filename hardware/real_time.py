"""Hints to the operating system that a thread keeps a rate: asked for where it is permitted, told where it is not.

They make a servo loop less late on a busy machine. They make nothing safe: the watchdogs do.
"""

import ctypes
import os
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
    """Ask for the calling thread: fixed priority, else a better nice value; and for the process: its memory locked.

    Threads and processes that the calling one starts afterwards are ordinary. Those of the middleware wait for shared
    memory by spinning: at a fixed priority two of them keep two cores from whoever could end their wait.
    """
    scheduling, locked = _schedule(), _lock_memory()
    wanted = []
    if scheduling != "fifo":
        wanted.append("rtprio 20")
    if not locked:
        wanted.append("memlock unlimited")
    advice = f"allow your user {' and '.join(wanted)} in /etc/security/limits.d, and log in again" if wanted else ""
    return RealTime(scheduling, locked, advice)


@contextmanager
def own_scheduling() -> Iterator[None]:
    """Leave the calling thread as it was scheduled before, whatever a vendor's SDK does to it."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, parameters)


def start_at_fixed_priority(start: Callable[[], object]) -> None:
    """Call what starts threads, so that these have the fixed priority, where that is permitted; raises what it raises.

    For an SDK's own control thread that waits for its device, not for one that spins. It is called in a thread of its
    own: what a servo thread starts itself is ordinary, and without CAP_SYS_NICE that cannot be undone (sched(7)).
    """

    def run() -> None:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        start()

    with ThreadPoolExecutor(1, "starts at a fixed priority") as pool:
        pool.submit(run).result()


def _schedule() -> str:
    try:  # 0: this thread
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
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
