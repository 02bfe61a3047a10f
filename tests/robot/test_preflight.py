"""The comparison of checkpoint, station and world: every field that can differ is named before anything moves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot.errors import CheckpointMismatch, ConfigError
from robot.policy import ActionChunk, PolicySpec
from robot.preflight import check, check_chunk, chunk_table, compare, station_interface, table
from robot.specs import load_station
from robot.units import field_units
from robot.worlds import Interface

STATION = load_station("fr3_sim")
SHAPES = {"joint_position": (8,), "joint_velocity": (8,), "tcp_position": (3,), "object_state": (9,)}
SPEC = PolicySpec(
    {**SHAPES, "image/scene": (84, 84, 3), "image/wrist": (84, 84, 3)},
    STATION.action_names,
    20.0,
    8,
    6,
    joint_names=STATION.joint_names,
    units=field_units(STATION),
)


def test_a_policy_of_the_station_fits_it() -> None:
    lines = compare(SPEC, station_interface(STATION, SPEC))
    check(lines, "the station")
    assert all(line.fits for line in lines)
    shown = table(lines)
    for expected in ("camera wrist", "(84, 84, 3)", "fr3_joint1", "rad rad", "20 Hz", "predicts 8", "executes 6"):
        assert expected in shown
    assert "DIFFERS" not in shown


# What of the checkpoint is changed, and the field that must be named first with both sides.
DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "a field of another size": (
        {"observation_shapes": {**SHAPES, "joint_position": (7,)}},
        "observation joint_position: the checkpoint expects (7,), found (8,)",
    ),
    "a field that is not there": (
        {"observation_shapes": {**SHAPES, "force": (6,)}},
        "observation force: the checkpoint expects (6,), found nothing",
    ),
    "a camera that is not there": (
        {"observation_shapes": {**SHAPES, "image/ceiling": (84, 84, 3)}},
        "camera ceiling: the checkpoint expects (84, 84, 3), found nothing",
    ),
    "images of another form": (
        {"observation_shapes": {**SHAPES, "image/wrist": (84, 112, 3)}},
        "camera wrist: the checkpoint expects (84, 112, 3), found (84, 84, 3)",
    ),
    "images of two sizes": (
        {"observation_shapes": {**SHAPES, "image/wrist": (64, 64, 3), "image/scene": (96, 96, 3)}},
        "camera scene: the checkpoint expects (96, 96, 3), found (64, 64, 3)",
    ),
    "joints in another order": (
        {"joint_names": STATION.joint_names[::-1]},
        f"joints: the checkpoint expects {' '.join(STATION.joint_names[::-1])}, found fr3_joint1",
    ),
    "other actions": (
        {"action_names": STATION.joint_names},
        f"action: the checkpoint expects {' '.join(STATION.joint_names)}, found tcp_x tcp_y tcp_z fr3_finger_joint1",
    ),
    "degrees": (
        {"units": {"joint_position": " ".join(["deg"] * 8)}},
        "units of joint_position: the checkpoint expects deg deg",
    ),
    "actions in millimetres": ({"units": {"action": "mm mm mm mm"}}, "units of action: the checkpoint expects mm"),
    "another rate": ({"rate_hz": 10.0}, "rate: the checkpoint expects 10 Hz, found 20 Hz"),
}


@pytest.mark.parametrize(("changes", "expected"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_the_first_field_that_differs_is_named_in_one_line(changes: dict[str, Any], expected: str) -> None:
    spec = replace(SPEC, **changes)
    lines = compare(spec, station_interface(STATION, spec))
    with pytest.raises(CheckpointMismatch) as refused:
        check(lines, "station fr3_sim")
    message = str(refused.value)
    assert message.startswith("the policy does not fit station fr3_sim: " + expected)
    assert "\n" not in message
    assert "more differ" not in message
    assert table(lines).count("DIFFERS") == 1


def test_several_differences_are_counted_and_the_table_has_them_all() -> None:
    spec = replace(SPEC, rate_hz=10.0, joint_names=("a",))
    lines = compare(spec, station_interface(STATION, spec))
    with pytest.raises(CheckpointMismatch, match=r"joints: .*\(1 more differ\)"):
        check(lines, "station")
    assert table(lines).count("DIFFERS") == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"execution_horizon": 9}, "execution_horizon 9 must lie in 1..action_horizon"),
        ({"execution": "receding:12"}, "execution_horizon is 12, it must lie in 1..8"),
        ({"execution": "async:7"}, "steps of delay is 7, it must lie in 0..4"),
    ],
)
def test_horizons_that_cannot_be_executed_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises((CheckpointMismatch, ConfigError)) as refused:
        compare(replace(SPEC, **changes), station_interface(STATION, SPEC))
    assert expected in str(refused.value)


def test_what_one_side_does_not_declare_is_said_and_fits() -> None:
    bare = Interface({**SPEC.observation_shapes}, SPEC.action_names, 20.0, 100)
    lines = compare(SPEC, bare)
    check(lines, "a world")
    assert {line.found for line in lines if line.field.startswith(("joints", "units"))} == {"not declared"}


LOW, HIGH = STATION.action_low, STATION.action_high
MIDDLE = (LOW + HIGH) / 2


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        (np.tile(MIDDLE * 1000, (8, 1)), "asks 500 of action tcp_x, the station takes 0.25 to 0.75"),
        (
            np.tile(MIDDLE + np.array([0, 0, 0, 1.0]), (8, 1)),
            "of action fr3_finger_joint1, the station takes 0 to 0.04",
        ),
        (np.full((8, 4), np.nan), "not finite"),
        (np.tile(MIDDLE[:3], (8, 1)), r"shape (8, 3), expected (8, 4)"),
        (np.tile(MIDDLE, (9, 1)), r"shape (9, 4), expected (8, 4)"),
        (np.zeros((0, 4)), r"shape (0, 4)"),
    ],
)
def test_a_first_chunk_that_cannot_be_meant_for_the_station_is_refused(actions: np.ndarray, expected: str) -> None:
    with pytest.raises(CheckpointMismatch) as refused:
        check_chunk(ActionChunk(actions, 0.05), SPEC, LOW, HIGH)
    assert expected in str(refused.value)


def test_a_first_chunk_is_shown_with_units_and_limits() -> None:
    chunk = ActionChunk(np.tile(MIDDLE, (8, 1)) + np.arange(8)[:, None] * 1e-3, 0.05)
    check_chunk(chunk, SPEC, LOW, HIGH)
    check_chunk(replace(chunk, actions=chunk.actions + 0.3 * (HIGH - LOW)), SPEC, LOW, HIGH)  # a wish for the edge
    shown = chunk_table(chunk, SPEC, LOW, HIGH).splitlines()
    assert shown[0].split() == ["first", "chunk", "unit", "allowed", "50", "ms", "100", "ms", "150", "ms", "200", "ms"]
    assert shown[1].split() == ["tcp_x", "m", "0.25", "to", "0.75", "0.5000", "0.5010", "0.5020", "0.5030"]
    assert len(shown) == 5


def test_units_are_told_for_both_spaces_of_action() -> None:
    assert field_units(STATION)["action"] == "m m m m"
    in_joints = replace(STATION.action, space="joint_position", low=(0.0,) * 8, high=(1.0,) * 8)
    assert field_units(replace(STATION, action=in_joints))["action"] == "rad rad rad rad rad rad rad m"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy of this station whose rate is another."""
    pytest.importorskip("torch")
    from policies.checkpoint import save_policy
    from tests.ros.made_policy import make_clone

    policy = make_clone()
    path = tmp_path_factory.mktemp("clone") / "policy.safetensors"
    save_policy(path, policy)
    policy.spec = replace(policy.spec, rate_hz=10.0)
    save_policy(path.with_name("slow.safetensors"), policy)
    return path


@pytest.mark.parametrize("verb", ["eval", "up", "record"])
def test_every_verb_prints_the_table_and_exits_with_2(
    verb: str, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from robot.cli import main

    if verb != "eval":
        pytest.importorskip("rclpy")
    words = ["--env", "tandem/peg-insert", "--episodes", "1"] if verb == "eval" else ["--task", "peg-insert"]
    assert main([verb, "--policy", str(clone.with_name("slow.safetensors")), *words]) == 2
    said = capsys.readouterr()
    assert "rate: the checkpoint expects 10 Hz, found 20 Hz" in said.err
    assert said.err.count("\n") == 1
    assert said.out.count("DIFFERS") == 1


def test_eval_shows_the_first_chunk_and_takes_a_way_to_execute(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from robot.cli import main

    words = ["eval", "--policy", str(clone), "--env", "tandem/peg-insert", "--episodes", "1"]
    assert main([*words, "--execution", "ensemble"]) == 0
    said = capsys.readouterr().out
    assert "first chunk" in said
    assert "ensemble of every step's answer" in said
    assert main([*words, "--execution", "async:9"]) == 2
    assert "it must lie in 0..4" in capsys.readouterr().err
