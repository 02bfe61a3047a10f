"""Find worlds by name: environments and their scripted experts.

An environment id is `<suite>/<name>` (`tandem/peg-insert`, `metaworld/peg-insert-side-v3`). Suites register a module in
the entry-point group `tandem.suites`; it has `make_env(name, **options)`, `make_expert(name, **knobs)`
and `names()`, and `make_operator(name, **script)` where a person can take over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import gymnasium
import numpy as np

from robot.errors import ConfigError, MissingDependency, unknown_name

if TYPE_CHECKING:
    from robot.control_loop import Operator

GROUP = "tandem.suites"


@dataclass(frozen=True, slots=True)
class Interface:
    """What a world offers a policy; the counterpart of `robot.policy.PolicySpec`, units and joints as there."""

    observation_shapes: Mapping[str, tuple[int, ...]]
    action_names: tuple[str, ...]
    rate_hz: float
    max_steps: int
    joint_names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)


class Expert(Protocol):
    """A scripted policy that closes the loop every step and sees the observation alone."""

    def reset(self, seed: int) -> None: ...

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return one action in station units, shape (action_dim,)."""
        ...


def suite_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def _suite(env_id: str) -> tuple[ModuleType, str]:
    suite, slash, name = env_id.partition("/")
    if not slash:
        raise ConfigError(f"environment id '{env_id}' has no suite: write <suite>/<name>, suites: {suite_names()}")
    for entry in entry_points(group=GROUP):
        if entry.name == suite:
            try:
                module = entry.load()
            except ImportError as error:
                raise MissingDependency(
                    f"suite '{suite}' needs a package: {error}; pip install '.[{suite}]'"
                ) from error
            if name not in module.names():
                raise unknown_name(f"{suite} environment", env_id, [f"{suite}/{n}" for n in module.names()])
            return module, name
    raise unknown_name("suite", suite, suite_names())


def make_env(env_id: str, **options: Any) -> gymnasium.Env[dict[str, np.ndarray], np.ndarray]:
    """Build an environment; see the suite for its options."""
    module, name = _suite(env_id)
    return module.make_env(name, **options)


def make_expert(env_id: str, **knobs: Any) -> Expert:
    """Build the scripted expert of an environment. Knobs: noise, bias, slowness, drop_probability."""
    module, name = _suite(env_id)
    return module.make_expert(name, **knobs)


def make_operator(env_id: str, **script: Any) -> "Operator":
    """Build the scripted person of an environment; the script's fields are the suite's."""
    module, name = _suite(env_id)
    if not hasattr(module, "make_operator"):
        raise ConfigError(f"nobody can take over in '{env_id}': only tandem/* worlds have an operator")
    return module.make_operator(name, **script)


def env_ids() -> list[str]:
    """List every environment of every suite that is installed."""
    ids = []
    for entry in entry_points(group=GROUP):
        try:
            ids += [f"{entry.name}/{name}" for name in entry.load().names()]
        except ImportError:
            continue  # a suite whose package is absent offers nothing
    return sorted(ids)
