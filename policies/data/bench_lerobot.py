"""The peer of `policies.data.bench`: export a store, read it in random batches with LeRobotDataset and a DataLoader.

Run as a process of the environment that has lerobot: STORE OUT BATCHES; the last line of its output is JSON.
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path

import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from policies.data.bench import BATCH
from policies.data.bench_episodes import CAMERAS
from policies.data.episodes import open_episodes
from policies.data.lerobot_export import export_lerobot


def main(store: Path, out: Path, batches: int) -> dict[str, float]:
    """Return frames per second of this process's CPU time, and bytes of video per frame."""
    torch.set_num_threads(1)
    written = export_lerobot(open_episodes(store), out, cameras=CAMERAS, repo_id="tandem/bench")
    videos = sum(path.stat().st_size for path in (out / "videos").rglob("*.mp4"))
    dataset = LeRobotDataset("tandem/bench", root=out, video_backend="pyav")
    generator = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, BATCH, shuffle=True, generator=generator)
    stream = iter(loader)
    next(stream)
    before_s = time.process_time()
    frames = sum(len(batch["index"]) * len(CAMERAS) for batch in islice(stream, batches))
    rate = frames / (time.process_time() - before_s)
    return {"rate": rate, "bytes_per_frame": videos / (written.frames * len(CAMERAS))}


if __name__ == "__main__":
    print("\n" + json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
