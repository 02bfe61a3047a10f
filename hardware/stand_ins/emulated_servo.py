"""A servo as its bus sees it: a table of registers, and a shaft that follows the goal."""

import math
from dataclasses import dataclass, field

TABLE_SIZE = 256
LAG_S = 0.02
TOP_SPEED = 4000.0  # ticks/s
FALL_SPEED = 600.0  # ticks/s, of an arm without torque
STEP_S = 0.002


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a family of servos keeps what a shaft needs: (address, bytes) of each register."""

    torque: tuple[int, int]
    goal: tuple[int, int]
    position: tuple[int, int]
    velocity: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]
    velocity_per_tick_s: float  # register units per tick/s
    sign_bit: int | None  # of the velocity: None for two's complement


@dataclass
class EmulatedServo:
    """One servo. Its shaft is a first-order lag with a top speed; once it lost its torque the arm falls to `rest`."""

    id: int
    layout: Layout
    position: float  # ticks
    rest: float | None = None  # ticks; None: it stays where it is left
    registers: bytearray = field(default_factory=lambda: bytearray(TABLE_SIZE))
    is_powered: bool = True
    is_blocked: bool = False  # something holds the shaft
    is_frozen: bool = False  # what it says of itself no longer changes
    may_move: bool = True
    _velocity: float = 0.0
    _was_held: bool = False

    def get(self, register: tuple[int, int]) -> int:
        address, size = register
        return int.from_bytes(self.registers[address : address + size], "little")

    def put(self, register: tuple[int, int], value: int) -> None:
        address, size = register
        self.registers[address : address + size] = (value % (1 << 8 * size)).to_bytes(size, "little")

    @property
    def has_torque(self) -> bool:
        return self.is_powered and bool(self.get(self.layout.torque))

    def advance(self, duration_s: float) -> None:
        """Let time pass, and write position and velocity into the registers."""
        steps = min(math.ceil(duration_s / STEP_S), 1000)
        before = self.position
        for _ in range(steps):
            self._move(duration_s / steps)
        if duration_s > 0.0:
            self._velocity = (self.position - before) / duration_s
        if not self.is_frozen:
            self.put(self.layout.position, round(self.position))
            self.put(self.layout.velocity, self._encoded(round(self._velocity * self.layout.velocity_per_tick_s)))

    def _move(self, duration_s: float) -> None:
        if self.is_blocked or not self.may_move:
            return
        if self.has_torque:
            self._was_held = True
            low, high = self.get(self.layout.low), self.get(self.layout.high)
            goal, top = min(max(self.get(self.layout.goal), low), high), TOP_SPEED
        elif self.rest is not None and self._was_held:
            goal, top = self.rest, FALL_SPEED
        else:
            return
        step = (goal - self.position) * (1.0 - math.exp(-duration_s / LAG_S))
        self.position += min(max(step, -top * duration_s), top * duration_s)

    def _encoded(self, value: int) -> int:
        if self.layout.sign_bit is None or value >= 0:
            return value
        return -value | 1 << self.layout.sign_bit
