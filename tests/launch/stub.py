"""A stand-in for ROS's launch, which the package index does not have: its actions keep what they were given."""

from types import ModuleType, SimpleNamespace
from typing import Any

MODULES = ("launch", "launch.actions", "launch.substitutions")
ACTIONS = ("DeclareLaunchArgument", "ExecuteProcess", "OpaqueFunction", "SetEnvironmentVariable", "Shutdown")


class Recorded(SimpleNamespace):
    """An action with its arguments: those by place in `given`, the others under their names."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(given=given, **named)


def stub_modules(arguments: dict[str, str]) -> dict[str, ModuleType]:
    """Return the modules by name; launch configurations take their values from `arguments`."""
    modules = {name: ModuleType(name) for name in MODULES}
    modules["launch"].LaunchDescription = lambda actions: actions  # type: ignore[attr-defined]
    modules["launch"].LaunchContext = object  # type: ignore[attr-defined]
    for name in ACTIONS:
        setattr(modules["launch.actions"], name, type(name, (Recorded,), {}))
    configuration = lambda name: SimpleNamespace(perform=lambda _: arguments[name])  # noqa: E731
    modules["launch.substitutions"].LaunchConfiguration = configuration  # type: ignore[attr-defined]
    return modules
