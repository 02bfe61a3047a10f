"""`tandem imagine`: train a world model, and what can be done in one."""

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from robot.verb import Verb
from world_models.compare_verb import ComparePolicies
from world_models.eval_verb import EvalModel
from world_models.record_verb import RecordMix
from world_models.rollout_verb import RolloutPolicy
from world_models.starts_verb import CutStarts
from world_models.train_verb import TrainModel

Config = (
    Annotated[TrainModel, tyro.conf.subcommand("train")]
    | Annotated[RecordMix, tyro.conf.subcommand("record")]
    | Annotated[EvalModel, tyro.conf.subcommand("eval")]
    | Annotated[CutStarts, tyro.conf.subcommand("starts")]
    | Annotated[RolloutPolicy, tyro.conf.subcommand("rollout")]
    | Annotated[ComparePolicies, tyro.conf.subcommand("compare")]
)


def run(config: Any) -> Mapping[str, Any]:
    return config.run()


VERB = Verb(Config, run, "Train a world model, imagine in it, and hold it against the world it was trained on.")
