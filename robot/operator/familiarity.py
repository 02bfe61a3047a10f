"""Where the arm was in the demonstrations: how near it is to them now, and which of their poses is nearest.

What the operator's page draws over the picture: in recovery the person drives back to where the policy knows its way
(interventions, 2.3 and 13.1 row 16).
"""

from collections.abc import Iterable

import numpy as np

from robot.episode import Episode
from robot.operator.projection import Projection
from robot.types import Array, Owner, Segment

MAX_POSES = 4000
NEAR_M = 0.03  # the distance at which the score has fallen to 1/e
CELL_PX = 16


class Familiarity:
    """Poses of one arm's tcp (n, 3) [m] in the cell's frame, and the station's joints (n, n_joints) at each."""

    def __init__(self, tcps_m: Array, joints: Array) -> None:
        keep = np.linspace(0, len(tcps_m) - 1, min(MAX_POSES, len(tcps_m))).astype(int)
        self._tcps_m, self._joints = tcps_m[keep], joints[keep]

    def __len__(self) -> int:
        return len(self._tcps_m)

    def nearest(self, tcp_m: Array) -> tuple[float, Array]:
        """Return how far the nearest demonstrated tcp is [m], and the joints of the station there."""
        apart_m = np.linalg.norm(self._tcps_m - tcp_m, axis=1)
        index = int(apart_m.argmin())
        return float(apart_m[index]), self._joints[index]

    @staticmethod
    def score(distance_m: float) -> float:
        """Return 1 on a demonstration, towards 0 far from all."""
        return float(np.exp(-distance_m / NEAR_M))

    def cells(self, projection: Projection) -> list[tuple[float, float, float]]:
        """Return where demonstrations were in a picture: centre of each cell [px] and its share of the fullest one."""
        pixels = projection.pixels(self._tcps_m)
        bounds = [(0.0, float(projection.width)), (0.0, float(projection.height))]
        bins = [max(1, projection.width // CELL_PX), max(1, projection.height // CELL_PX)]
        counts, xs, ys = np.histogram2d(pixels[:, 0], pixels[:, 1], bins=bins, range=bounds)
        shares = np.sqrt(counts / max(1.0, counts.max()))  # places passed once have to be seen too
        places = np.argwhere(counts > 0)
        return [
            (float(xs[i] + xs[i + 1]) / 2, float(ys[j] + ys[j + 1]) / 2, float(shares[i, j]))
            for i, j in places.tolist()
        ]


def demonstrated(episodes: Iterable[Episode], side: int, joint_count: int) -> Familiarity:
    """Return the poses of the ticks that a person drove, recoveries aside, or of whole episodes in which none did.

    Args:
        episodes: those that count as successes.
        side: of several arms the one whose tcp is meant.
        joint_count: of the station; episodes of another one are left out.
    """
    tcps, joints = [np.zeros((0, 3))], [np.zeros((0, joint_count))]
    for episode in episodes:
        columns = episode.columns
        places, commands = columns.get("observation/tcp_position"), columns["joint_command"]
        if places is None or commands.shape[1] != joint_count or places.shape[1] < 3 * side + 3:
            continue
        is_human = (columns["owner"] == Owner.HUMAN) & (columns["segment"] != Segment.RECOVERY)
        is_whole = np.isfinite(commands).all(axis=1) & np.isfinite(places).all(axis=1)
        chosen = is_whole & (is_human if is_human.any() else np.ones(len(commands), bool))
        tcps.append(places[chosen][:, 3 * side : 3 * side + 3])
        joints.append(commands[chosen])
    return Familiarity(np.concatenate(tcps), np.concatenate(joints))
