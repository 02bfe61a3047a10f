"""What is registered here, by name: Tandem's own parts and those of every package that is installed beside it."""

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from itertools import islice

from robot.errors import RobotError
from robot.worlds import env_ids, make_env, make_expert, suite_names

OWN_SUITE = "tandem"
PER_SUITE = 2  # of large suites


def names(group: str) -> list[str]:
    return sorted(entry.name for entry in entry_points(group=group))


def environments() -> list[str]:
    """Return every task of a station, and of every other suite a few environments, with an expert where one has."""
    ids = env_ids()
    found = []
    for suite in suite_names():
        of_suite = [env_id for env_id in ids if env_id.partition("/")[0] == suite]
        few = of_suite if suite == OWN_SUITE else list(islice(_with_expert(of_suite), PER_SUITE))
        found += few or of_suite[:1]
    return found


def _with_expert(ids: Sequence[str]) -> Iterator[str]:
    for env_id in ids:
        try:
            make_expert(env_id)
            make_env(env_id).close()
        except (RobotError, ImportError):
            continue
        yield env_id
