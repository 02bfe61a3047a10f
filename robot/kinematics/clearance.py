"""How far parts of a station's arms are from each other: between arms, and within one."""

from collections.abc import Callable, Sequence
from itertools import combinations

import mujoco
import numpy as np

from robot.errors import ConfigError
from robot.kinematics.model import compile_kinematic_model, mirrored_joints
from robot.specs import StationSpec
from robot.types import Array

FAR_M = 0.1  # clearance beyond this is not told apart
TOUCHING_JOINTS = 2  # bodies no further apart may overlap by construction, as in `robot.kinematics.model`
SHARES = (1.0, 0.5, 0.25, 0.1, 0.0)  # of a step, tried in this order


class PairClearance:
    """How much more than its margin lies between the shapes of each pair, what hands hold left aside.

    Links are capsules, hands boxes (`robot.kinematics.model`). Bounding spheres sort out the pairs that cannot be near;
    for the others MuJoCo's distance between two shapes counts. Not thread safe: it owns one MuJoCo data.

    Args:
        station: whose arms.
        model: of its arms, without anything else.
        first: geoms, one per pair.
        second: the other geom of each pair.
        margin: of each pair [m].
    """

    def __init__(
        self, station: StationSpec, model: mujoco.MjModel, first: np.ndarray, second: np.ndarray, margin: Array
    ) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        self._joints = [int(model.joint(name).qposadr[0]) for name in station.joint_names]
        self._mirrors = mirrored_joints(model, station)
        self._grippers = [part.stop - 1 for part in station.joint_slices]
        self._first, self._second, self._margin = first, second, margin
        self._reach = model.geom_rbound[first] + model.geom_rbound[second] + margin

    def clearance(self, q: Array) -> float:
        """Return the smallest distance of a pair less its margin [m], `FAR_M` at most; below 0 is too near."""
        return self.nearest(q)[0]

    def nearest(self, q: Array) -> tuple[float, int]:
        """Return the clearance and the pair that it is of, -1 where none is nearer than `FAR_M`."""
        self._data.qpos[self._joints] = q
        self._data.qpos[self._mirrors] = q[self._grippers]
        mujoco.mj_kinematics(self._model, self._data)
        places = self._data.geom_xpos
        apart = np.linalg.norm(places[self._first] - places[self._second], axis=1) - self._reach
        least, which = FAR_M, -1
        for pair in np.flatnonzero(apart < FAR_M):
            first, second, margin = int(self._first[pair]), int(self._second[pair]), float(self._margin[pair])
            distance = mujoco.mj_geomDistance(self._model, self._data, first, second, margin + least, None)
            if distance - margin < least:
                least, which = distance - margin, int(pair)
        return least, which

    def names(self, pair: int) -> str:
        """Return the two bodies of a pair."""
        bodies = (self._model.geom_bodyid[int(geom[pair])] for geom in (self._first, self._second))
        return " and ".join(self._model.body(int(body)).name for body in bodies)


def self_clearance(station: StationSpec) -> PairClearance:
    """Return the clearance within each arm whose `safety: self_clearance_m` is above 0.

    Links that are one or two joints apart are left out: their shapes overlap by construction.

    Raises:
        ConfigError: an arm has no shapes to look at, or is nearer to itself than that already at home.
    """
    careful = [side for side in station.sides if side.safety.self_clearance_m > 0.0]
    for side in careful:
        if shapeless := [joint.name for joint in side.arm.joints if not joint.geoms]:
            raise ConfigError(
                f"{side.name}: self_clearance_m is {side.safety.self_clearance_m}, but the links of {shapeless} have "
                "no shape: give these joints `geoms`, or leave self_clearance_m out"
            )
    model = compile_kinematic_model(station)
    first, second, margin = [], [], []
    for side in careful:
        pairs = _own_pairs(model, side.mount.prefix)
        first += [one for one, _ in pairs]
        second += [other for _, other in pairs]
        margin += [side.safety.self_clearance_m] * len(pairs)
    found = PairClearance(station, model, np.array(first, int), np.array(second, int), np.array(margin))
    least, pair = found.nearest(station.home)
    if least < 0.0:
        raise ConfigError(
            f"{station.name}: at home {found.names(pair)} are {-1e3 * least:.0f} mm nearer than self_clearance_m "
            "allows: choose a smaller one, or another home"
        )
    return found


def _own_pairs(model: mujoco.MjModel, prefix: str) -> Sequence[tuple[int, int]]:
    """Return the pairs of geoms of one arm that must not meet: of bodies more than two joints apart."""
    own = [geom for geom in range(model.ngeom) if _is_of(model, geom, prefix)]
    return [
        (one, other)
        for one, other in combinations(own, 2)
        if _joints_apart(model, int(model.geom_bodyid[one]), int(model.geom_bodyid[other])) > TOUCHING_JOINTS
    ]


def _joints_apart(model: mujoco.MjModel, one: int, other: int) -> int:
    """Return how many joints lie between two bodies of a tree."""
    ways = []
    for body in (one, other):
        way = [int(model.body_weldid[body])]
        while way[-1] != 0:
            way.append(int(model.body_weldid[model.body_parentid[way[-1]]]))
        ways.append(way)
    shared = next(body for body in ways[0] if body in ways[1])
    return ways[0].index(shared) + ways[1].index(shared)


def _is_of(model: mujoco.MjModel, geom: int, prefix: str) -> bool:
    root = model.body(int(model.body_rootid[model.geom_bodyid[geom]])).name
    return root.startswith(prefix)


def largest_share(clearance: Callable[[Array], float], start: Array, step: Array, needed_m: float) -> float:
    """Return the largest share of a step that leaves at least that clearance; 0 where none does."""
    return next((s for s in SHARES if s == 0.0 or clearance(start + s * step) >= needed_m), 0.0)
