"""Videos of recorded episodes: the cameras side by side, framed in the colour of whoever is in control."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from robot.episode import Episode
from robot.types import Owner

OWNER_RGB = {
    Owner.POLICY: (52, 120, 246),
    Owner.HUMAN: (240, 140, 30),
    Owner.SHARED: (170, 90, 220),
    Owner.SAFETY: (220, 50, 50),
    Owner.HOLD: (150, 150, 150),
    Owner.RESET: (90, 90, 90),
}
WIDTH, HEIGHT, BORDER = 320, 240, 6


def encode_episode(episode: Episode, *, rate_hz: float, max_frames: int = 120) -> bytes:
    """Return an animated WebP of an episode at its recorded speed, thinned to `max_frames`."""
    rows = _rows_with_images(episode)
    stride = max(1, -(-len(rows) // max_frames))
    return encode_frames([draw_frame(episode, row) for row in rows[::stride]], rate_hz=rate_hz / stride)


def encode_frames(frames: Sequence[np.ndarray], *, rate_hz: float) -> bytes:
    """Return an animated WebP of uint8 RGB frames of one shape (H, W, 3)."""
    images, out = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    duration_ms = round(1000 / rate_hz)
    images[0].save(out, "WEBP", save_all=True, append_images=images[1:], duration=duration_ms, loop=0, quality=60)
    return out.getvalue()


def draw_frame(episode: Episode, row: int) -> np.ndarray:
    """Return one tick as uint8 RGB: every camera, the owner's border, owner and time in words."""
    owner = Owner(int(episode.columns["owner"][row]))
    views = [cv2.resize(episode.image(camera, row), (WIDTH, HEIGHT)) for camera in episode.info.cameras]
    frame = np.concatenate(views, axis=1)
    colour = OWNER_RGB[owner]
    times = episode.columns["tick_time_ns"]
    text = f"{owner.name.lower()}  {(times[row] - times[0]) / 1e9:.1f} s"
    cv2.rectangle(frame, (0, 0), (frame.shape[1] - 1, frame.shape[0] - 1), colour, BORDER)
    cv2.rectangle(frame, (BORDER, BORDER), (BORDER + 12 + 9 * len(text), BORDER + 24), colour, -1)
    cv2.putText(frame, text, (BORDER + 6, BORDER + 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return frame


def _rows_with_images(episode: Episode) -> Sequence[int]:
    """Return the rows from the first at which every camera has sent something."""
    starts = [episode.first_image_row(camera) for camera in episode.info.cameras]
    return range(max(starts), len(episode))
