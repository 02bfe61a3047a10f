"""A person with little time: what compares methods at equal human time."""

from policies.takeovers.shared_control import Seen
from robot.errors import ConfigError
from robot.operator.person import HANDS_OFF, Person, Wish
from robot.types import Array


class LimitedPerson:
    """A person who keeps their hands off for good once they drove `budget` ticks, whatever they see."""

    def __init__(self, person: Person, budget: int) -> None:
        if budget < 1:
            raise ConfigError(f"a person's budget must be at least one tick, got {budget}")
        self.person, self.budget = person, budget
        self.driven_ticks = 0

    @property
    def session_ticks(self) -> int:
        """How long they have been looking on: what tires them."""
        return self.person.session_ticks

    @session_ticks.setter
    def session_ticks(self, ticks: int) -> None:
        self.person.session_ticks = ticks

    def reset(self, seed: int) -> None:
        self.person.reset(seed)

    def look(self, observation: Seen, executed: Array | None, proposed: Array) -> Wish:
        is_spent = self.driven_ticks >= self.budget
        return HANDS_OFF if is_spent else self.person.look(observation, executed, proposed)

    def advise(self, observation: Seen) -> Array:
        return self.person.advise(observation)
