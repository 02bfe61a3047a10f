"""See an episode at a glance: a contact sheet of its images and a plot of its actions, owners and events."""

from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from policies.data.images import resized
from robot.episode import Episode
from robot.types import Owner

THUMBNAIL = 128
SHADES = {
    Owner.HUMAN: "tab:orange",
    Owner.SHARED: "gold",
    Owner.SAFETY: "tab:red",
    Owner.HOLD: "0.85",
    Owner.RESET: "0.7",
}


def write_sheet(episode: Episode, out: Path, *, columns: int = 10) -> list[Path]:
    """Write `<id>-images.jpg` (where there are cameras) and `<id>-actions.png` into a folder; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    if episode.info.cameras and len(episode):
        path = out / f"{episode.info.episode_id}-images.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(contact_sheet(episode, columns), cv2.COLOR_RGB2BGR))
        written.append(path)
    if len(episode):
        path = out / f"{episode.info.episode_id}-actions.png"
        _plot(episode, path)
        written.append(path)
    return written


def contact_sheet(episode: Episode, columns: int) -> np.ndarray:
    """Return one row of thumbnails per camera, evenly spaced in time, each with its step; uint8 HWC RGB."""
    steps = np.unique(np.linspace(0, len(episode) - 1, columns).round().astype(int))
    strips = []
    for camera in episode.info.cameras:
        first = episode.first_image_row(camera)
        strips.append(np.hstack([_thumbnail(episode, camera, int(step), step >= first) for step in steps]))
    return np.vstack(strips)


def _thumbnail(episode: Episode, camera: str, step: int, is_seen: bool) -> np.ndarray:
    picture = np.zeros((THUMBNAIL, THUMBNAIL, 3), np.uint8)
    if is_seen:
        image = episode.image(camera, step)
        if image.ndim == 2:  # depth: near is bright
            image = np.repeat((255 * (1 - image / max(int(image.max()), 1))).astype(np.uint8)[..., None], 3, axis=2)
        picture = np.ascontiguousarray(resized(image, THUMBNAIL))
    cv2.putText(picture, f"{camera} {step}", (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 0), 1, cv2.LINE_AA)
    return picture


def _plot(episode: Episode, path: Path) -> None:
    table = episode.columns
    time_s = (table["tick_time_ns"] - table["tick_time_ns"][0]) / 1e9
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(3, 1), layout="constrained")
    above.plot(time_s, table["executed_action"], linewidth=1.2)
    above.set_ylabel("executed action")
    info = episode.info
    above.set_title(f"{info.episode_id}: {info.task}, {info.steps} steps, {info.end_reason.name.lower()}")
    for owner, colour in SHADES.items():
        above.fill_between(
            time_s, 0, 1, where=table["owner"] == owner, color=colour, alpha=0.3, transform=above.get_xaxis_transform()
        )
    below.step(time_s, table["owner"], where="post")
    below.set_yticks([int(owner) for owner in Owner], [owner.name.lower() for owner in Owner], fontsize=7)
    below.set_xlabel("time [s]")
    for event in episode.events:
        below.axvline((event["time_ns"] - table["tick_time_ns"][0]) / 1e9, color="tab:purple", linewidth=0.8)
    figure.savefig(path, dpi=90)
    plt.close(figure)
