"""What is registered here, by name: Tandem's own parts and those of every package that is installed beside it."""

from importlib.metadata import entry_points

from robot.worlds import env_ids, suite_names

OWN_SUITE = "tandem"
PER_SUITE = 2  # of large suites only the first environments


def names(group: str) -> list[str]:
    return sorted(entry.name for entry in entry_points(group=group))


def environments() -> list[str]:
    """Return every task of a station, and the first environments of every other suite."""
    ids = env_ids()
    found = []
    for suite in suite_names():
        of_suite = [env_id for env_id in ids if env_id.partition("/")[0] == suite]
        found += of_suite if suite == OWN_SUITE else of_suite[:PER_SUITE]
    return found
