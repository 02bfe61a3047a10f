"""`tandem imagine`: train a world model, and what can be done in one."""

from collections.abc import Mapping
from typing import Annotated, Any

import tyro

from robot.verb import Verb
from world_models.record_verb import RecordMix
from world_models.train_verb import TrainModel

Config = Annotated[TrainModel, tyro.conf.subcommand("train")] | Annotated[RecordMix, tyro.conf.subcommand("record")]


def run(config: Any) -> Mapping[str, Any]:
    return config.run()


VERB = Verb(Config, run, "Train a world model, imagine in it, and hold it against the world it was trained on.")
