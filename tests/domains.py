"""Which ROS domain a test's processes meet in."""

import os
import random

HIGHEST = 101  # above it the ports are those that Linux gives to clients


def some_domain() -> int:
    """Return a domain by chance; tests that run beside each other (pytest-xdist's workers) never draw the same."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return random.SystemRandom().randrange(1 + number, 1 + HIGHEST, workers)
