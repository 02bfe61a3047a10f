"""The simulated world: MuJoCo physics behind the `World` contract of `robot.control_loop`."""

from collections.abc import Collection, Mapping, Sequence

import mujoco
import numpy as np

from robot.control_loop import Outcome
from robot.errors import ConfigError, unknown_name
from robot.kinematics.arm import ArmKinematics
from robot.kinematics.model import TCP, mirrored_joints
from robot.motion import make_kinematics
from robot.specs import StationSpec
from robot.types import NS_PER_S, Array, Command, Observation, RobotState
from sim.randomization import Drawn, Randomizer, chosen_aspects
from sim.renderer import SceneRenderer, read_state
from sim.scene import TIMESTEP_S, build_scene
from sim.task import StartRange, Task, starts_of

SERVO_STEPS = round(0.01 / TIMESTEP_S)  # physics steps per setpoint: the servo runs at 100 Hz
SERVO_S = SERVO_STEPS * TIMESTEP_S
START_ERROR_M = 0.01
FIELDS = ("joint_position", "joint_velocity", "tcp_position", "object_state")
TIMESTEP_NS = round(TIMESTEP_S * NS_PER_S)
SOLVED, UNSOLVED = Outcome(1.0, True), Outcome(0.0, False)


class Picked:
    """Rows of a live array that are not side by side: what several arms have where one has a view."""

    def __init__(self, source: Array, rows: Sequence[int]) -> None:
        self._source, self._rows = source, list(rows)

    def copy(self) -> Array:
        """Return the present values in one row."""
        return self._source[self._rows].ravel()


class SimWorld:
    """One cell with one task, moving only when told to. Time is its own and never runs backwards.

    Images are made only of the cameras asked for, square, as `image/<camera>`. `randomize` draws every episode's domain
    anew (`sim.randomization`): True, or the names of some aspects; `drawn` has what the present episode got.
    """

    def __init__(
        self,
        station: StationSpec,
        task: Task,
        *,
        images: Sequence[str] = (),
        image_size: int = 84,
        randomize: bool | Collection[str] = False,
    ) -> None:
        self.station, self.task = station, task
        self.max_steps = task.max_steps
        self.model = build_scene(station, task)
        self.data = mujoco.MjData(self.model)
        task.bind(self.model)
        self.aspects = chosen_aspects(randomize)
        self._randomizer = Randomizer(self.model, self.aspects) if self.aspects else None
        self.drawn: Drawn = {}
        self._kinematics = make_kinematics(station)
        self._n = len(station.joint_names)
        self._places = [int(self.model.joint(name).qposadr[0]) for name in station.joint_names]
        self._mirrors = mirrored_joints(self.model, station)
        self._tcp, self._joints = self._live_values()
        self._cameras, self._image_size = tuple(images), image_size
        self._lag_s = -self.model.actuator_biasprm[:, 2] / self.model.actuator_gainprm[:, 0]
        groups = round(station.period_s / (SERVO_STEPS * TIMESTEP_S))
        # of the way to a command, per servo step and joint: the straight line, and ahead by the servo's lag
        self._shares = np.linspace(0.0, 1.0, groups + 1)[1:, None] + self._lag_s / station.period_s
        self._setpoint, self._control = station.home.copy(), self.data.ctrl
        self._rng = np.random.default_rng()
        self._late: list[Array] = []  # setpoints on their way, of a world with command latency
        self._renderer: SceneRenderer | None = None
        self._hidden = tuple(station.observation) != FIELDS  # not all of them are observed, or not in this order
        self.time_ns = 0
        self.observation_shapes: Mapping[str, tuple[int, ...]] = self._field_shapes()

    def reset(self, seed: int | None = None) -> Observation:
        """Begin an episode: the same seed gives the same episode exactly."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._draw_domain()
        mujoco.mj_resetData(self.model, self.data)
        self._place_arms()
        self.task.reset(self.data, self._rng)
        mujoco.mj_forward(self.model, self.data)
        self.time_ns += self.station.period_ns
        return self.observe()

    def advance(self, command: Command) -> Observation:
        """Approach the command on a straight line in joint space over one control period."""
        step, drift, ctrl, model, data = mujoco.mj_step, self.task.advance, self._control, self.model, self.data
        controls = self._setpoint + self._shares * (command.position - self._setpoint)
        for control in self._delayed(controls) if self._late else controls:
            ctrl[:] = control
            step(model, data, SERVO_STEPS)
            drift(data, SERVO_S)
        self.time_ns += len(controls) * SERVO_STEPS * TIMESTEP_NS
        self._setpoint = command.position
        mujoco.mj_kinematics(self.model, self.data)  # mj_step leaves the poses of one step before
        return self.observe()

    def drive(self, setpoint: Array, velocity: Array | float, n_steps: int) -> None:
        """Hold one joint setpoint for `n_steps` of physics, with velocity feed-forward as a real controller has it."""
        self._setpoint = setpoint
        self._control[:] = setpoint + self._lag_s * velocity
        mujoco.mj_step(self.model, self.data, nstep=n_steps)
        self.task.advance(self.data, n_steps * TIMESTEP_S)
        self.time_ns += n_steps * TIMESTEP_NS
        mujoco.mj_kinematics(self.model, self.data)

    def robot_state(self) -> RobotState:
        """Return the measured joints."""
        return RobotState(self.time_ns, self._joints[0].copy(), self._joints[1].copy())

    def observe(self) -> Observation:
        """Return what can be seen now; simulation has no latency, so every stream has the same time."""
        robot = self.robot_state()
        values = {
            "joint_position": robot.position,
            "joint_velocity": robot.velocity,
            "tcp_position": self._tcp.copy(),
            "object_state": self.task.object_state(self.data),
        }
        if self._hidden:
            values = {name: values[name] for name in self.station.observation}
        if self._cameras:
            renderer = self._scene_renderer()
            renderer.place(self.sim_state())
            for camera in self._cameras:
                values[f"image/{camera}"] = renderer.draw(camera, self._image_size, self._image_size)
        return Observation(self.time_ns, robot, values, dict.fromkeys(values, self.time_ns))

    def outcome(self) -> Outcome:
        return SOLVED if self.task.success(self.data) else UNSOLVED

    def sim_state(self) -> Array:
        """Return what a `SceneRenderer` needs to draw this moment."""
        return read_state(self.data)

    def render(self, camera: str | None = None, width: int = 480, height: int = 360) -> np.ndarray:
        """Return an image of this moment, uint8 (height, width, 3); the station's first camera by default."""
        return self._scene_renderer().render(self.sim_state(), camera or self.station.cameras[0].name, width, height)

    def close(self) -> None:
        if self._renderer is not None:
            self._renderer.close()

    def _scene_renderer(self) -> SceneRenderer:
        if self._renderer is None:
            self._renderer = SceneRenderer(self.station, self.task)
            self._draw_domain_of(self._renderer)
        return self._renderer

    def draw_of(self, seed: int) -> Drawn:
        """Return what an episode of this seed gets drawn, for its metadata; empty without randomisation."""
        return self._randomizer.draw(np.random.default_rng(seed).spawn(1)[0]) if self._randomizer else {}

    @property
    def command_latency_s(self) -> float:
        """How late commands arrive in this episode; `drive` leaves it to its caller."""
        return self.drawn.get("latency/command_s", [0.0])[0]

    def _draw_domain(self) -> None:
        if self._randomizer is None:
            return
        self.drawn = self._randomizer.draw(self._rng.spawn(1)[0])  # spawned: the task's draws stay as they are
        self._randomizer.apply(self.drawn, self.model, self.data)
        if self._renderer is not None:
            self._draw_domain_of(self._renderer)

    def _draw_domain_of(self, renderer: SceneRenderer) -> None:
        if self._randomizer is not None and self.drawn:
            self._randomizer.apply(self.drawn, renderer.model)

    def _delayed(self, controls: Array) -> list[Array]:
        """Return the setpoints that arrive now, and keep as many of the newest for later."""
        arrived = [*self._late, *controls]
        self._late = arrived[len(controls) :]
        return arrived[: len(controls)]

    def _live_values(self) -> tuple[Array | Picked, tuple[Array | Picked, Array | Picked]]:
        """Return tcps, joint positions and velocities as views of the data, or what picks them out of it."""
        data, sides = self.data, self.station.sides
        tcps = [self.model.site(side.mount.prefix + TCP).id for side in sides]
        if len(sides) == 1:
            return data.site_xpos[tcps[0]], (data.qpos[: self._n], data.qvel[: self._n])
        dofs = [int(self.model.joint(name).dofadr[0]) for name in self.station.joint_names]
        return Picked(data.site_xpos, tcps), (Picked(data.qpos, self._places), Picked(data.qvel, dofs))

    def _place_arms(self) -> None:
        starts = zip(self.station.sides, self._kinematics.sides, starts_of(self.task), strict=True)
        placed = [self._start(side, arm, start) for side, arm, start in starts]
        self._setpoint = np.concatenate(placed)
        self.data.qpos[self._places] = self._setpoint
        self.data.qpos[self._mirrors] = [joints[-1] for joints in placed]
        self.data.ctrl[:] = self._setpoint
        self._late = [self._setpoint] * round(self.command_latency_s / (SERVO_STEPS * TIMESTEP_S))

    def _start(self, side: StationSpec, arm: ArmKinematics, start: StartRange) -> Array:
        """Draw the joints that one arm starts from; ConfigError where it cannot."""
        tcp, travel_m = start.sample(self._rng)
        found = arm.inverse(tcp, np.array(side.arm.home_rad), iterations=30)
        if not np.abs(arm.tcp_position(found) - tcp).max() < START_ERROR_M:
            raise ConfigError(
                f"task {self.task.name} starts with the tcp at {np.round(tcp, 3)} m, which {side.name} cannot "
                "reach: take a task that is laid out for this arm"
            )
        return np.append(found, side.gripper.joint_at(travel_m))

    def _field_shapes(self) -> dict[str, tuple[int, ...]]:
        sizes = {
            "joint_position": self._n,
            "joint_velocity": self._n,
            "tcp_position": 3 * len(self.station.sides),
            "object_state": self.task.object_state_size,
        }
        for name in self.station.observation:
            if name not in sizes:
                raise unknown_name("observation field of the simulated world", name, sizes)
        shapes: dict[str, tuple[int, ...]] = {name: (sizes[name],) for name in self.station.observation}
        for camera in self._cameras:
            self.station.camera(camera)
            shapes[f"image/{camera}"] = (self._image_size, self._image_size, 3)
        return shapes
