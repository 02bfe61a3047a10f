"""Load a world model by its file or by the folder of the run that trained it."""

from pathlib import Path

from robot.errors import CheckpointMismatch
from world_models.video_model import MODEL_FILE, VideoWorldModel


def load_world_model(path: Path | str, device: str = "cpu") -> VideoWorldModel:
    """Return the model; CheckpointMismatch where there is none, or another kind of checkpoint."""
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise CheckpointMismatch(
            f"expected a world model at {file}, found nothing; give a file or a run folder of `tandem imagine train`"
        )
    return VideoWorldModel.load(file, device)
