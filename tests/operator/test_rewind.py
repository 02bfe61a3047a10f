"""Going back along the way: at half speed, near the way, no further than asked, and at once still when let go."""

import numpy as np

from robot.operator.rewind import LONGEST_S, PAUSE_S, SPEED, Rewind
from robot.types import Array

PERIOD_S = 0.05


def around(time_s: float) -> Array:
    """A quarter of a circle of 10 cm, drawn in 2 s."""
    angle = 0.25 * np.pi * time_s
    return np.array([0.4 + 0.1 * np.cos(angle), 0.1 * np.sin(angle), 0.2])


def went(seconds: float, rewind: Rewind | None = None) -> tuple[Rewind, float, Array]:
    rewind = rewind or Rewind(1)
    times = np.arange(0.0, seconds + 1e-9, PERIOD_S)
    for time_s in times:
        rewind.note(float(time_s), [around(float(time_s))])
    return rewind, float(times[-1]), around(float(times[-1]))


def back(rewind: Rewind, start_s: float, tcp_m: Array, seconds: float) -> list[Array]:
    """Follow the velocities it gives, noting the way as the page does."""
    places = [tcp_m]
    for tick in range(round(seconds / PERIOD_S)):
        now_s = start_s + PERIOD_S * (tick + 1)
        tcp_m = tcp_m + PERIOD_S * np.array(rewind.velocity(0, now_s, tcp_m))
        rewind.note(now_s, [tcp_m])
        places.append(tcp_m)
    return places


def test_it_goes_the_same_way_back_at_half_speed() -> None:
    rewind, end_s, tcp_m = went(2.0)
    places = back(rewind, end_s, tcp_m, 2.0)
    way = np.array([around(time_s) for time_s in np.linspace(0.0, 2.0, 400)])
    off_m = [np.linalg.norm(way - place, axis=1).min() for place in places]
    assert max(off_m) < 0.002
    np.testing.assert_allclose(places[-1], around(2.0 - SPEED * 2.0), atol=0.012)


def test_it_ends_where_the_way_began() -> None:
    rewind, end_s, tcp_m = went(2.0)
    places = back(rewind, end_s, tcp_m, 8.0)
    np.testing.assert_allclose(places[-1], around(0.0), atol=0.003)


def test_one_press_goes_back_no_further_than_five_seconds_and_the_next_goes_on() -> None:
    rewind, end_s, tcp_m = went(8.0)
    first = back(rewind, end_s, tcp_m, 2.5 * LONGEST_S)
    np.testing.assert_allclose(first[-1], around(8.0 - LONGEST_S), atol=0.01)
    second = back(rewind, end_s + 2.5 * LONGEST_S + 2 * PAUSE_S, first[-1], 2.0)
    assert np.linalg.norm(second[-1] - around(8.0 - LONGEST_S - 1.0)) < 0.02, "further back, not forth again"


def test_standing_still_is_not_part_of_the_way() -> None:
    rewind, end_s, tcp_m = went(2.0)
    for tick in range(200):
        rewind.note(end_s + PERIOD_S * tick, [tcp_m])
    moved = back(rewind, end_s + 11.0, tcp_m, 1.0)
    assert np.linalg.norm(moved[-1] - tcp_m) > 0.02


def test_after_a_reset_there_is_nothing_to_go_back_to() -> None:
    rewind, end_s, tcp_m = went(2.0)
    rewind.forget()
    assert rewind.velocity(0, end_s + 1.0, tcp_m) == (0.0, 0.0, 0.0)
