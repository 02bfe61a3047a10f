"""Domain randomisation: every episode another light, other colours, camera poses, dynamics and command latency.

What is drawn follows from the episode's seed alone, apart from the task's own draws: the same seed gives the same start
with and without, and each aspect the same values whichever others are on. Drawn values are plain facts, for the record.
"""

# MuJoCo ships no types for its enums and specs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from robot.errors import unknown_name
from robot.geometry import from_rotation_vector, multiply
from robot.kinematics.model import BASE
from robot.types import Array

ASPECTS = ("light", "colour", "camera", "dynamics", "latency")
Drawn = Mapping[str, list[float]]  # flat values by `<aspect>/<what>`


@dataclass(frozen=True, slots=True)
class Ranges:
    """How far things are drawn from what the scene says; factors are drawn evenly on the logarithm."""

    light_shift_m: float = 0.5
    light_factor: tuple[float, float] = (0.6, 1.5)
    ambient_factor: tuple[float, float] = (0.7, 1.3)
    colour_shift: float = 0.15  # per channel of 1
    camera_shift_m: float = 0.01
    camera_turn_rad: float = 0.035
    mass_factor: tuple[float, float] = (0.7, 1.5)  # of what the arm does not carry by construction
    friction_factor: tuple[float, float] = (0.8, 1.25)
    damping_factor: tuple[float, float] = (0.7, 1.4)
    stiffness_factor: tuple[float, float] = (0.9, 1.1)  # of the servos
    latency_s: float = 0.04  # of the commands, at most


def chosen_aspects(randomize: bool | Collection[str]) -> tuple[str, ...]:
    """Return the aspects that the switch stands for: all, none, or those named."""
    if isinstance(randomize, bool):
        return ASPECTS if randomize else ()
    named = (randomize,) if isinstance(randomize, str) else tuple(randomize)
    for name in named:
        if name not in ASPECTS:
            raise unknown_name("aspect of randomisation", name, ASPECTS)
    return tuple(aspect for aspect in ASPECTS if aspect in named)


class Randomizer:
    """Draws for the scenes of one model and writes what was drawn into it, always starting from the nominal values."""

    def __init__(self, model: mujoco.MjModel, aspects: Collection[str], ranges: Ranges = Ranges()) -> None:
        self.aspects, self._ranges = tuple(aspects), ranges
        arms = [body for body in range(model.nbody) if model.body(body).name.endswith(BASE)]
        of_arm = np.isin(model.body_rootid, arms)
        self._bodies = np.flatnonzero(~of_arm & (model.body_mass > 0))
        self._geoms = np.flatnonzero(~of_arm[model.geom_bodyid])
        self._sizes = {"light": model.nlight, "camera": model.ncam, "bodies": len(self._bodies)}
        self._nominal = {name: getattr(model, name).copy() for name in _FIELDS}
        self._ambient = model.vis.headlight.ambient.copy()

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Return the values of one episode, those of the chosen aspects only."""
        drawn: dict[str, list[float]] = {}
        for aspect, own in zip(ASPECTS, rng.spawn(len(ASPECTS)), strict=True):
            if aspect in self.aspects:
                values = getattr(self, f"_draw_{aspect}")(own)
                drawn |= {f"{aspect}/{name}": np.ravel(value).tolist() for name, value in values.items()}
        return drawn

    def _draw_light(self, rng: np.random.Generator) -> dict[str, Array]:
        shift, n = self._ranges.light_shift_m, self._sizes["light"]
        return {
            "shift_m": rng.uniform(-shift, shift, (n, 3)),
            "factor": _factors(rng, self._ranges.light_factor, n),
            "ambient_factor": _factors(rng, self._ranges.ambient_factor, 1),
        }

    def _draw_colour(self, rng: np.random.Generator) -> dict[str, Array]:
        shift = self._ranges.colour_shift
        return {"shift": rng.uniform(-shift, shift, (len(self._geoms), 3))}

    def _draw_camera(self, rng: np.random.Generator) -> dict[str, Array]:
        shift, turn, n = self._ranges.camera_shift_m, self._ranges.camera_turn_rad, self._sizes["camera"]
        return {"shift_m": rng.uniform(-shift, shift, (n, 3)), "turn_rad": rng.uniform(-turn, turn, (n, 3))}

    def _draw_dynamics(self, rng: np.random.Generator) -> dict[str, Array]:
        ranges = self._ranges
        return {
            "mass_factor": _factors(rng, ranges.mass_factor, self._sizes["bodies"]),
            "friction_factor": _factors(rng, ranges.friction_factor, 1),
            "damping_factor": _factors(rng, ranges.damping_factor, 1),
            "stiffness_factor": _factors(rng, ranges.stiffness_factor, 1),
        }

    def _draw_latency(self, rng: np.random.Generator) -> dict[str, Array]:
        return {"command_s": rng.uniform(0.0, self._ranges.latency_s, 1)}

    def apply(self, drawn: Drawn, model: mujoco.MjModel, data: mujoco.MjData | None = None) -> None:
        """Write drawn values into a model of the same scene.

        Args:
            drawn: of `draw`.
            model: the one the randomizer was made of, or another build of the same scene.
            data: of that model; left in its initial state. None where a model is only drawn: dynamics stay nominal.
        """
        old = self._nominal
        if "light" in self.aspects:
            factor = np.array(drawn["light/factor"])[:, None]
            model.light_pos[:] = old["light_pos"] + np.reshape(drawn["light/shift_m"], (-1, 3))
            model.light_diffuse[:] = np.clip(old["light_diffuse"] * factor, 0.0, 1.0)
            model.vis.headlight.ambient[:] = self._ambient * drawn["light/ambient_factor"][0]
        if "colour" in self.aspects:
            colour = old["geom_rgba"][self._geoms, :3] + np.reshape(drawn["colour/shift"], (-1, 3))
            model.geom_rgba[self._geoms, :3] = np.clip(colour, 0.0, 1.0)
        if "camera" in self.aspects:
            model.cam_pos[:] = old["cam_pos"] + np.reshape(drawn["camera/shift_m"], (-1, 3))
            turn = from_rotation_vector(np.reshape(drawn["camera/turn_rad"], (-1, 3)))
            model.cam_quat[:] = multiply(old["cam_quat"], turn)
        if "dynamics" in self.aspects and data is not None:
            self._apply_dynamics(drawn, model, data)

    def _apply_dynamics(self, drawn: Drawn, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        old, mass = self._nominal, np.array(drawn["dynamics/mass_factor"])
        model.body_mass[self._bodies] = old["body_mass"][self._bodies] * mass
        model.body_inertia[self._bodies] = old["body_inertia"][self._bodies] * mass[:, None]
        model.geom_friction[:, 0] = old["geom_friction"][:, 0] * drawn["dynamics/friction_factor"][0]
        model.dof_damping[:] = old["dof_damping"] * drawn["dynamics/damping_factor"][0]
        for name in ("actuator_gainprm", "actuator_biasprm"):
            getattr(model, name)[:] = old[name] * drawn["dynamics/stiffness_factor"][0]
        mujoco.mj_resetData(model, data)  # else what follows from the masses would know of the last episode
        mujoco.mj_setConst(model, data)


_FIELDS = ("light_pos", "light_diffuse", "geom_rgba", "cam_pos", "cam_quat", "body_mass", "body_inertia",
           "geom_friction", "dof_damping", "actuator_gainprm", "actuator_biasprm")  # fmt: skip


def _factors(rng: np.random.Generator, bounds: tuple[float, float], n: int) -> Array:
    return np.exp(rng.uniform(np.log(bounds[0]), np.log(bounds[1]), n))
