"""Find worlds by name: environments and their scripted experts.

An environment id is `<suite>/<name>` (`tandem/peg-insert`, `metaworld/peg-insert-side-v3`), with options of the suite
where wanted (`tandem/lift?station=so101_sim&randomize=true`). Suites register a module in the entry-point group
`tandem.suites`; it has `make_env(name, **options)`, `make_expert(name, **knobs)` and `names()`,
`make_operator(name, **script)` where a person can take over, and `offers(name)` where it takes names beyond those it
lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

import gymnasium
import numpy as np
import yaml

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


def split_id(env_id: str) -> tuple[str, dict[str, Any]]:
    """Return `<suite>/<name>` and the options after the question mark; their values are read as YAML."""
    plain, _, query = env_id.partition("?")
    return plain, {
        name: yaml.safe_load(value) if value else True for name, value in parse_qsl(query, keep_blank_values=True)
    }


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
            if not (module.offers(name) if hasattr(module, "offers") else name in module.names()):
                raise unknown_name(f"{suite} environment", env_id, [f"{suite}/{n}" for n in module.names()])
            return module, name
    raise unknown_name("suite", suite, suite_names())


def make_env(env_id: str, **options: Any) -> gymnasium.Env[dict[str, np.ndarray], np.ndarray]:
    """Build an environment; see the suite for its options, those given here go before those of the id."""
    plain, own = split_id(env_id)
    module, name = _suite(plain)
    return module.make_env(name, **(own | options))


def make_expert(env_id: str, **knobs: Any) -> Expert:
    """Build the scripted expert of an environment. Knobs: noise, bias, slowness, drop_probability."""
    plain, own = split_id(env_id)
    module, name = _suite(plain)
    return module.make_expert(name, **(_of_driver(own) | knobs))


def make_operator(env_id: str, **script: Any) -> "Operator":
    """Build the scripted person of an environment; the script's fields are the suite's."""
    plain, own = split_id(env_id)
    module, name = _suite(plain)
    if not hasattr(module, "make_operator"):
        raise ConfigError(f"nobody can take over in '{env_id}': only tandem/* worlds have an operator")
    return module.make_operator(name, **(_of_driver(own) | script))


def _of_driver(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that whoever drives has to know too; the others are the environment's alone."""
    return {name: value for name, value in options.items() if name == "station"}


def env_ids() -> list[str]:
    """List every environment of every suite that is installed."""
    ids = []
    for entry in entry_points(group=GROUP):
        try:
            ids += [f"{entry.name}/{name}" for name in entry.load().names()]
        except ImportError:
            continue  # a suite whose package is absent offers nothing
    return sorted(ids)
