"""Episodes to measure readers on: made-up textured images that move, and a task's expert as the simulator draws it."""

from collections.abc import Mapping

import cv2
import numpy as np

from robot.bench_store import make_tick
from robot.episode_store import EpisodeStore
from robot.images import encode_for_store
from robot.types import EndReason
from robot.worlds import make_env, make_expert

CAMERAS = ("scene", "wrist")
IMAGE_SIZE = 224
TICKS = 100
NOISE = 2.0  # standard deviation of the sensor's noise, grey levels, as in `sim.camera_node`
FACTS = {"station": "fr3_sim", "task": "peg-insert"}


def record_episode(store: EpisodeStore, number: int, ticks: int = TICKS, size: int = IMAGE_SIZE) -> str:
    """Record one successful episode of made-up ticks and textured, noisy images that move; return its id."""
    views = {camera: _texture(place, number, size) for place, camera in enumerate(CAMERAS)}
    noise = np.random.default_rng(number)
    episode = []
    for step in range(ticks):
        images = {}
        for camera, view in views.items():
            image = view.copy()
            cv2.circle(image, (size // 10 + step * size // 130, size // 3 + number), size // 12, (200, 60, 40), -1)
            images[camera] = np.clip(image + noise.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)
        episode.append(images)
    return _record(store, f"bench-{number:04}", FACTS, episode)


def record_rendered(store: EpisodeStore, task: str, episodes: int) -> None:
    """Record what the station's cameras show, without noise, while the task's expert does it; made-up ticks."""
    env_id = f"tandem/{task}"
    env, expert = make_env(env_id, images=CAMERAS, image_size=IMAGE_SIZE), make_expert(env_id)
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        expert.reset(seed)
        seen, is_over = [], False
        while not is_over and len(seen) < TICKS:
            seen.append({camera: observation[f"image/{camera}"] for camera in CAMERAS})
            observation, _, terminated, truncated, _ = env.step(expert.act(observation))
            is_over = terminated or truncated
        _record(store, f"{task}-{seed:04}", {**FACTS, "task": task}, seen)
    env.close()


def _record(
    store: EpisodeStore, episode_id: str, facts: Mapping[str, str], episode: list[dict[str, np.ndarray]]
) -> str:
    writer = store.open_episode(facts, episode_id=episode_id)
    for step, images in enumerate(episode):
        writer.append(make_tick(step), {camera: encode_for_store(image) for camera, image in images.items()})
    return writer.close(EndReason.SUCCESS).episode_id


def _texture(place: int, number: int, size: int) -> np.ndarray:
    """Return a textured background, float32 (size, size, 3)."""
    field = np.random.default_rng([place, number]).normal(size=(size, size, 3)).astype(np.float32)
    texture = np.sum([sigma * cv2.GaussianBlur(field, (0, 0), sigma) for sigma in (1, 3, 9)], axis=0)
    return 110 + 45 * texture / texture.std()
