"""Four outcomes of one start tell a model that does not follow from a policy that chases what is not there."""

from collections.abc import Mapping

import numpy as np

from robot.policy import ActionChunk, PolicySpec
from robot.worlds import make_env
from tests.world_models.toy import SPEC, ToyModel
from world_models.exchange import exchange
from world_models.trust import Trust

TRUE, START = "tandem/reach", 3
SEEN = {"tcp_position": (3,), "image/scene": (SPEC.image_size, SPEC.image_size, 3)}


class Chaser:
    """Goes to a place once it sees the toy's square, which no true picture has; else it stays."""

    spec = PolicySpec(SEEN, SPEC.action_names, SPEC.control_rate_hz, 4, 4)

    def __init__(self, goal: np.ndarray) -> None:
        self.goal = goal

    def reset(self) -> None:
        pass

    def act(self, observation: Mapping[str, np.ndarray]) -> ActionChunk:
        red, green, blue = np.moveaxis(observation["image/scene"].astype(int), -1, 0)
        is_there = bool(((red > 100) & (green == 0) & (blue == 0)).any())
        goal = self.goal if is_there else [*observation["tcp_position"], 0.04]
        return ActionChunk(np.tile(goal, (4, 1)), 1.0 / self.spec.rate_hz, 0, 0)


def test_a_policy_that_chases_what_is_imagined_alone_is_told_from_a_model_that_does_not_follow() -> None:
    env = make_env(TRUE)
    target = env.reset(seed=START)[0]["object_state"]
    env.close()
    found = exchange(ToyModel(), Trust(), Chaser(np.array([*target, 0.04])), TRUE, [START])
    assert found.shares() == {"true": 0.0, "replayed": 0.0, "imagined": 0.0, "played_back": 1.0}
    found = exchange(ToyModel(), Trust(), Chaser(np.array([0.6, 0.0, 0.3, 0.0])), TRUE, [START])
    assert found.shares() == {"true": 0.0, "replayed": 0.0, "imagined": 1.0, "played_back": 0.0}
