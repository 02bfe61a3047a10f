"""Train a world model from an episode store: codec, then dynamics with the head, then the head on imagined replays.

Each phase is a run of the one training loop in a folder of its own, so an interrupted training goes on where it was;
phases that are over are read back and passed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from policies.run import Run
from policies.state_file import tree_hash
from policies.steerable import BaseConfig
from policies.training import LoopConfig, train
from world_models.batches import draw_images, draw_windows
from world_models.data import WorldData, all_actions, read_world_data
from world_models.latent_cache import LatentCache
from world_models.learner import AveragedLearner, Batch, DrawSource, Module
from world_models.losses import codec_loss, dynamics_loss, head_loss
from world_models.settings import VideoModelConfig
from world_models.video_model import MODEL_FILE, ActionScale, VideoNetwork, VideoWorldModel

SAMPLE = 512  # images that backgrounds and latent statistics are taken from


@dataclass(frozen=True)
class Trained:
    """A trained model with the data it learned from, as the checks want them."""

    model: VideoWorldModel
    data: WorldData
    cache: LatentCache
    path: Path


def train_world_model(
    store: Path,
    config: VideoModelConfig,
    out: Path,
    *,
    views: Sequence[str] = (),
    task: str | None = None,
    seed: int = 0,
    tensorboard: bool = True,
) -> Trained:
    """Train on an episode store and leave the model at `out`/world_model.safetensors; goes on with what `out` holds.

    The model's metadata name the episodes that it never saw, `held_out`.

    Args:
        store: folder of the episodes, successes and failures.
        config: of the model.
        out: run folder.
        views: cameras; none named: all that were recorded.
        task: needed only where the store holds several.
        seed: of weights, batches and noise.
        tensorboard: write curves for it too.
    """
    data = read_world_data(store, config, out / "images", views=views, task=task)
    places = torch.from_numpy(~data.table.is_validation)
    scale = ActionScale.fit(all_actions(data.table, data.spec), data.table.commands[places])
    model = VideoWorldModel(data.spec, config, scale, seed=seed, device=config.device)
    _show(model, data)
    phases = _Phases(model, data, out, seed, tensorboard)
    phases.codec()
    codec = tree_hash(dict(model.network.codec.state_dict()))
    cache = LatentCache(out / "latents", data, model, f"{codec[:12]}-{data.store_sha256[:12]}")
    phases.dynamics(cache)
    phases.head(cache)
    path = out / MODEL_FILE
    model.network.eval()
    model.metadata = {
        "store_sha256": data.store_sha256,
        "seed": seed,
        "frames": len(data.table),
        "held_out": data.held_out_ids,
    }
    model.save(path)
    return Trained(model, data, cache, path)


@dataclass
class _Phases:
    """The three runs of the loop."""

    model: VideoWorldModel
    data: WorldData
    out: Path
    seed: int
    tensorboard: bool

    def codec(self) -> None:
        """Fit the codec on single images, then fix the scale of its latents."""
        config, codec = self.model.config, self.model.network.codec
        draw = draw_images(self.data, config.codec_batch)
        self._run("codec", codec, codec_loss, draw, steps=config.codec_steps, rate=config.codec_rate)
        batch = draw_images(self.data, SAMPLE)(torch.Generator().manual_seed(1))
        codec.eval()
        codec.normalize_latents(*batch.pixels(self.model.device))

    def dynamics(self, cache: LatentCache) -> None:
        """Fit dynamics and head on windows of latents."""
        config, network = self.model.config, self.model.network
        draw = draw_windows(self.data, cache, config.batch_size, config.chunk, config.cold_start_share)
        loss = dynamics_loss(self.model)
        self._run("dynamics", network, loss, draw, steps=config.steps, rate=config.learning_rate)

    def head(self, cache: LatentCache) -> None:
        """Fit the head on what the model imagines where the outcome is known, and fix the scale of its features."""
        config, head = self.model.config, self.model.network.head
        draw = draw_windows(self.data, cache, config.head_batch, self._depth(), 0.5)
        self._run("head", head, head_loss(self.model), draw, steps=config.head_steps, rate=config.learning_rate)
        batch = draw(torch.Generator().manual_seed(1)).to(self.model.device)
        with torch.no_grad():
            features = head.features(batch.frames, self.model.scale.commands(batch.commands)).flatten(0, 1)
            self.model.network.feature_scale.copy_(features.std(dim=0).square().mean().sqrt().clamp(min=1e-3))

    def _depth(self) -> int:
        """Return how many frames to imagine: the horizon, or the longest whole number of calls that the data have."""
        config = self.model.config
        longest = int((self.data.table.last - self.data.table.first).max()) // config.ticks_per_frame
        return max(config.chunk, min(config.horizon, longest) // config.chunk * config.chunk)

    def _run(
        self,
        name: str,
        module: Module,
        loss: Callable[[Module, Batch], tuple[Tensor, dict[str, Tensor]]],
        draw: Callable[[torch.Generator], Batch],
        *,
        steps: int,
        rate: float,
    ) -> None:
        config, run = self.model.config, Run(self.out / name, tensorboard=self.tensorboard)
        schedule = BaseConfig(
            steps=steps,
            learning_rate=rate,
            warmup_steps=min(config.warmup_steps, steps // 10),
            cosine=True,
            weight_decay=config.weight_decay,
            precision=config.precision,
        )
        learner = AveragedLearner(module, loss, schedule, decay=config.average_decay, seed=self.seed)
        if config.compiled and isinstance(learner.live, VideoNetwork):
            learner.live.dynamics.compile()
        train(DrawSource(draw, self.seed), learner, LoopConfig.of_base(steps), run, title=name)
        run.close()


def _show(model: VideoWorldModel, data: WorldData) -> None:
    """Let the codec see what each view shows on average, and what is rare in it."""
    batch = draw_images(data, SAMPLE)(torch.Generator().manual_seed(0))
    model.network.codec.look_at(*batch.pixels(model.device))
