"""`tandem imagine record`: a world model's data mix from a simulated world, into an episode store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.episode_store import EpisodeStore
from world_models.recording import Mix, record_mix


@dataclass(frozen=True)
class RecordMix:
    """Record successes, near misses, clones of several skills and smooth chance; goes on where it was interrupted."""

    env: str
    """Simulated world, e.g. tandem/lift."""
    store: Path = Path("runs/world-episodes")
    """Folder of the episode store, of this mix alone."""
    episodes: int = 150
    ticks: int = 100
    """Control ticks of each episode; success does not end it."""
    views: tuple[str, ...] = ()
    """Cameras; none named: all of the station."""
    image_size: int = 96
    """Side of the recorded images [pixels]: twice the model's hides the artefacts of compression."""
    success: float = 0.4
    """Share of episodes driven by the expert."""
    near_miss: float = 0.3
    """Share that just misses."""
    clones: float = 0.2
    """Share driven by clones; the rest is smooth chance."""
    seed: int = 0

    def run(self) -> dict[str, Any]:
        """Record what the store lacks."""
        print(f"imagine record: {self.episodes} episodes of {self.env}, seed {self.seed}, into {self.store}")
        recorded = record_mix(
            self.env,
            EpisodeStore(self.store),
            self.episodes,
            views=self.views,
            image_size=self.image_size,
            ticks=self.ticks,
            mix=Mix(self.success, self.near_miss, self.clones),
            seed=self.seed,
        )
        print(f"next: tandem imagine train --data {self.store}")
        return {"store": self.store, **recorded}
