"""Operator devices by name: ours and those of packages installed beside Tandem, alone or one beside another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Any

import yaml

from robot.devices import DeviceLife, Features, OperatorDevice
from robot.errors import ConfigError, unknown_name
from robot.specs import StationSpec
from robot.types import Mark, OperatorInput, OwnerRequest, RobotState

GROUP = "tandem.operator_devices"
BESIDE = "+"
ENDING = (Mark.SUCCESS, Mark.FAILURE, Mark.DISCARD, Mark.RERECORD)


def operator_device_names() -> list[str]:
    return sorted(entry.name for entry in entry_points(group=GROUP))


def make_operator_device(name: str, station: StationSpec, options: Mapping[str, Any] | None = None) -> OperatorDevice:
    """Return a device, not yet connected; no library is imported for it.

    Args:
        name: of the entry-point group; `leader+keyboard` is an arm that is led and keys for the rest.
        station: whose arm it moves.
        options: of the device; of two the first one's.

    Raises:
        ConfigError: no such device, or options that it does not have.
    """
    mover, _, labels = name.partition(BESIDE)
    if labels:
        return Beside(make_operator_device(mover, station, options), make_operator_device(labels, station))
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            make: Callable[[StationSpec, Mapping[str, Any]], OperatorDevice] = entry.load()
            return make(station, options or {})
    raise unknown_name("operator device", name, operator_device_names())


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Return `dead_zone=0.1 controls.frame=tool` as a tree; values are read as YAML."""
    tree: dict[str, Any] = {}
    for word in words:
        path, equals, value = word.partition("=")
        if not equals or not all(path.split(".")):
            raise ConfigError(f"device option {word!r}: write name=value, as mode=absolute or controls.frame=tool")
        *folders, name = path.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = yaml.safe_load(value)
    return tree


class Beside(DeviceLife):
    """Two devices as one: the first one moves the arm, the second one has the requests and labels.

    A leader arm has no buttons, and a person who holds it has a foot for a pedal or a hand for a key. A takeover of the
    second one owns the arm until it asks for something else or ends the episode; requests of it go first.
    """

    def __init__(self, mover: OperatorDevice, labels: OperatorDevice) -> None:
        super().__init__()
        self.features: Features = mover.features
        self._mover, self._labels, self._seq, self._is_owned = mover, labels, 0, False

    def connect(self) -> None:
        self._mover.connect()
        try:
            self._labels.connect()
        except BaseException:
            self._mover.close()
            raise
        super().connect()

    def close(self) -> None:
        super().close()
        self._mover.close()
        self._labels.close()

    def read(self) -> OperatorInput | None:
        self.require()
        moved, said = self._mover.read(), self._labels.read()
        if moved is None or said is None:
            return moved
        self._seq += 1
        if said.request is OwnerRequest.TAKE_OVER:
            self._is_owned = True
        elif said.request or said.mark in ENDING:
            self._is_owned = False
        return replace(
            moved,
            seq=self._seq,
            engaged=moved.engaged or self._is_owned,
            request=said.request or moved.request,
            mark=said.mark or moved.mark,
            mark_back_s=said.mark_back_s or moved.mark_back_s,
            is_fine=said.is_fine,
        )

    def feel(self, robot: RobotState) -> None:
        self._mover.feel(robot)
        self._labels.feel(robot)
