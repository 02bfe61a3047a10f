"""The imagined environment over a toy model with exact answers: starts, stepping, success, branching, replay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector.vector_env import AutoresetMode

from policies.state_file import read_tree, write_tree
from robot.errors import CheckpointMismatch, ConfigError
from tests.world_models.toy import GOAL_X, SPEC, STATION, ToyModel, toy_episodes
from world_models.episode_frames import EpisodeFrames
from world_models.imagined_env import ImaginationConfig, ImaginedEnv
from world_models.metrics.outcomes import Calibration
from world_models.start_records import StartFile, cut, keyframes
from world_models.trust import Trust

HOME = STATION.home
STEP = np.array([0.01, 0.0, 0.0, 0.0])  # less than the tcp may move in a tick


@pytest.fixture(scope="module")
def episodes() -> list[EpisodeFrames]:
    return toy_episodes(6)


@pytest.fixture(scope="module")
def starts(episodes: list[EpisodeFrames]) -> StartFile:
    return StartFile(tuple(record for episode in episodes for record in keyframes(episode, SPEC)))


def make(starts: StartFile, num_envs: int = 1, *, noise: float = 0.0, trust: Trust = Trust(), **config) -> ImaginedEnv:  # noqa: B008
    return ImaginedEnv(ToyModel(noise), STATION, starts, num_envs, config=ImaginationConfig(**config), trust=trust)


def toward(env: ImaginedEnv, ticks: int, step: np.ndarray = STEP, gripper: float = 0.0) -> np.ndarray:
    """Return actions that move every member's tcp on by `step` a tick."""
    now = np.stack([member.arm.tick_state.commanded for member in env.members])
    path = now[:, None] + step * np.arange(1, ticks + 1)[:, None]
    path[..., 3] = gripper
    return path


def test_proprioception_and_images_follow_the_commands(starts: StartFile) -> None:
    env = make(starts, 2)
    before, _ = env.reset(seed=0)
    assert env.observation_space.contains(dict(before))
    actions = toward(env, 8, gripper=0.04)
    after, _, _, _, info = env.step_chunk(actions)
    assert after["tcp_position"] == pytest.approx(actions[:, -1, :3], abs=2e-3)
    assert after["tcp_position"] == pytest.approx(info["executed_action"][:, -1, :3], abs=1e-4)
    moved = after["joint_position"] - before["joint_position"]
    assert np.abs(moved[:, :7]).max() > 0.02
    assert info["depth"].tolist() == [2, 2]
    columns = [after["image/scene"][0, ..., 0].astype(float).sum(axis=0) for after in (before, after)]
    middles = [(np.clip(c - c.min(), 0, None) * np.arange(24)).sum() / (c - c.min()).sum() for c in columns]
    assert middles[1] - middles[0] > 0.5


def test_images_stay_between_frames_and_the_joints_do_not(starts: StartFile) -> None:
    env = make(starts)
    first, _ = env.reset(seed=0)
    actions = toward(env, 4)
    seen = [env.step(actions[:, tick])[0] for tick in range(4)]
    for observation in seen[:3]:
        assert (observation["image/scene"] == first["image/scene"]).all()
    assert (seen[3]["image/scene"] != first["image/scene"]).any()
    assert seen[0]["tcp_position"][0, 0] > first["tcp_position"][0, 0]


def test_a_chunk_in_one_call_is_that_chunk_tick_by_tick_but_for_the_noise(starts: StartFile) -> None:
    one, many = make(starts, 2), make(starts, 2)
    one.reset(seed=3)
    many.reset(seed=3)
    actions = toward(one, 16)
    whole = one.step_chunk(actions)[0]
    for tick in range(16):
        single = many.step(actions[:, tick])[0]
    for name, values in whole.items():
        assert np.array_equal(values, single[name]), name


def test_the_safety_filter_has_the_last_word(starts: StartFile) -> None:
    env = make(starts)
    env.reset(seed=0)
    wild = toward(env, 4, 20 * STEP)
    info = env.step_chunk(wild)[4]
    steps = np.diff(info["executed_action"][0, :, :3], axis=0)
    assert np.linalg.norm(steps, axis=1).max() <= STATION.safety.tcp_speed_m_s * STATION.period_s * 1.001
    assert not np.allclose(info["executed_action"], wild)


def test_success_is_by_first_passage_and_nothing_counts_after_it(starts: StartFile) -> None:
    env = make(starts, 2, max_frames=20)
    env.reset(seed=1)
    total, flags = np.zeros(2), []
    for _ in range(12):
        start_x = env.members[0].arm.tick_state.commanded[0]
        forward = toward(env, 16, STEP if start_x < GOAL_X else -4 * STEP)
        _, reward, terminated, truncated, info = env.step_chunk(forward)
        total += reward
        flags.append(terminated.copy())
        assert not (terminated & truncated).any()
        if (terminated | truncated).all():
            break
    assert total.tolist() == [1.0, 1.0]
    assert terminated.all()
    live = info["frame_is_live"]
    passed = info["frame_success"] >= 0.5
    for row in range(2):
        if passed[row].any():
            first = int(passed[row].argmax())
            assert live[row].tolist() == [frame <= first for frame in range(live.shape[1])]
    depth = info["depth"].copy()
    _, reward, terminated, _, info = env.step_chunk(forward)  # masked from here on
    assert reward.tolist() == [0.0, 0.0]
    assert terminated.all()
    assert info["depth"].tolist() == depth.tolist()
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED


def test_soft_reward_is_the_highest_probability_and_a_flicker_pays_once(starts: StartFile) -> None:
    env = make(starts, reward="soft", trust=Trust(threshold=0.999))
    env.reset(seed=1)
    returns = 0.0
    for step in (STEP, -STEP, STEP, -STEP):
        _, reward, terminated, _, info = env.step_chunk(toward(env, 16, step))
        returns += reward[0]
    assert returns == pytest.approx(info["success_probability"][0])
    assert not terminated[0]


def test_members_of_a_group_share_start_and_anchor(starts: StartFile) -> None:
    env = make(starts, 6, noise=0.01)
    for pool in ("start", "keyframe", "mixed"):
        env.reset(seed=5, options={"pool": pool, "group_size": 3})
        for group in (env.members[:3], env.members[3:]):
            for member in group[1:]:
                assert (member.history.anchor == group[0].history.anchor).all()
                assert (member.history.memory == group[0].history.memory).all()
                assert (member.arm.joints == group[0].arm.joints).all()
        assert len({member.seed for member in env.members}) == 6
    apart, _, _, _, _ = env.step_chunk(toward(env, 4))
    assert (apart["image/scene"][0] != apart["image/scene"][1]).any()
    env.reset(seed=5, options={"group_size": 3, "has_shared_noise": True})
    same, _, _, _, _ = env.step_chunk(toward(env, 4))
    assert (same["image/scene"][0] == same["image/scene"][1]).all()


def test_a_keyframe_restores_memory_its_actions_the_anchor_and_the_gripper(episodes: list[EpisodeFrames]) -> None:
    episode, frame = episodes[0], 16
    record = cut(episode, SPEC, "success", frame)
    env = make(StartFile((record,)))
    observation, _ = env.reset(seed=0, options={"pool": "keyframe"})
    (member,) = env.members
    scene = ToyModel().decode(member.history.memory)["scene"][0]
    assert (scene == episode.frames["scene"][frame - 2 : frame + 1]).all()
    assert (ToyModel().decode(member.history.anchor[:, None])["scene"][0, 0] == episode.frames["scene"][0]).all()
    steps = np.diff(episode.commands[frame - 3 : frame + 1, :3], axis=0)
    assert member.history.actions[0, :, :3].numpy() == pytest.approx(steps, abs=1e-6)
    assert member.history.actions[0, :, 3].numpy() == pytest.approx(episode.commands[frame - 2 : frame + 1, 3])
    assert not member.history.is_null.any()
    assert (observation["image/scene"][0] == episode.frames["scene"][frame]).all()
    assert (member.arm.joints == episode.joints[frame]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory": {"scene": np.zeros((2, 24, 24, 3), np.uint8)}}, "memory frames: expected 0 or 3"),
        ({"memory": {}}, "actions that produced the memory"),
        ({"actions": np.zeros((2, 4))}, r"actions that produced the memory: expected \(3, 4\), found \(2, 4\)"),
        ({"anchor": {"scene": np.zeros((24, 24, 3), np.uint8)}}, "views of the anchor"),
        ({"step_s": 0.1}, "time between frames"),
        ({"commands": np.zeros((3, 4))}, "commands at anchor and memory"),
    ],
)
def test_a_broken_start_is_refused_with_expected_against_found(
    episodes: list[EpisodeFrames], tmp_path: Path, change: dict, message: str
) -> None:
    broken = StartFile((replace(cut(episodes[0], SPEC, "success", 8), **change),))
    broken.write(tmp_path / "starts.safetensors")
    with pytest.raises(CheckpointMismatch, match=message):
        StartFile.read(tmp_path / "starts.safetensors", SPEC)
    with pytest.raises(CheckpointMismatch, match=message):
        make(broken).begin(broken.records, [0])


def test_starts_survive_their_file_and_know_their_kinds(starts: StartFile, tmp_path: Path) -> None:
    starts.write(tmp_path / "starts.safetensors")
    read = StartFile.read(tmp_path / "starts.safetensors", SPEC)
    kinds = {record.kind for record in read.records}
    assert {"start", "success", "near_miss", "gripper"} <= kinds
    assert (read.records[1].memory["wrist"] == starts.records[1].memory["wrist"]).all()
    with pytest.raises(ConfigError, match="pool 'keyframe'"):
        StartFile(tuple(r for r in read.records if r.is_plain)).draw(0, "keyframe")
    taken_over = replace(toy_episodes(1)[0], takeovers=(10,))
    assert ("takeover", 6) in {(record.kind, record.frame) for record in keyframes(taken_over, SPEC)}


def test_a_branch_goes_on_exactly_as_the_run_itself(starts: StartFile, tmp_path: Path) -> None:
    env = make(starts, 1, noise=0.02)
    env.reset(seed=2)
    env.step_chunk(toward(env, 10))  # in the middle of a frame
    write_tree(tmp_path / "state.safetensors", env.states()[0])
    actions = toward(env, 12)
    went_on = env.step_chunk(actions)
    fork = make(starts, 3, noise=0.02)
    fork.branch(read_tree(tmp_path / "state.safetensors"))
    forked = fork.step_chunk(np.repeat(actions, 3, axis=0))
    for name, values in went_on[0].items():
        assert np.array_equal(values[0], forked[0][name][0]), name
    assert (forked[0]["image/scene"][0] != forked[0]["image/scene"][1]).any()  # others draw their own noise
    same = make(starts, 2, noise=0.02)
    same.branch(read_tree(tmp_path / "state.safetensors"), seeds=[env.members[0].seed] * 2)
    again = same.step_chunk(np.repeat(actions, 2, axis=0))[0]
    assert np.array_equal(again["image/wrist"][0], again["image/wrist"][1])
    state = env.states()[0]
    with pytest.raises(CheckpointMismatch, match="an imagined state: expected"):
        fork.branch({name: value for name, value in state.items() if name != "history"})


def test_episodes_do_not_depend_on_who_else_is_in_the_batch_nor_on_what_was_before(starts: StartFile) -> None:
    alone, many = make(starts, 1, noise=0.02), make(starts, 4, noise=0.02)
    records, seeds = starts.records[:4], [11, 12, 13, 14]
    many.reset(seed=9)
    many.step_chunk(toward(many, 7))  # left behind by the next beginning
    many.begin(records, seeds)
    whole = many.step_chunk(toward(many, 16))[0]
    for row in range(4):
        alone.begin(records[row : row + 1], seeds[row : row + 1])
        single = alone.step_chunk(toward(alone, 16))[0]
        for name, values in single.items():
            assert np.array_equal(values[0], whole[name][row]), name


def test_replaying_true_commands_gives_the_true_frames(episodes: list[EpisodeFrames], starts: StartFile) -> None:
    env, model = make(starts), ToyModel()
    records = [cut(episode, SPEC, "start", 0) for episode in episodes]
    rollout = env.replay(records, np.stack([episode.commands[1:] for episode in episodes]), range(6))
    frames = model.decode(rollout.latents)
    for row, episode in enumerate(episodes):
        for view in SPEC.views:
            difference = frames[view][row].astype(int) - episode.frames[view][1:]
            assert np.abs(difference).max() <= 1
        assert bool((rollout.success[row] > 0.5).any()) == episode.is_success


def test_the_gate_cuts_a_rollout_that_disagrees(starts: StartFile) -> None:
    for gated, depth in ((True, 1), (False, 3)):
        env = make(starts, noise=0.05, trust=Trust(gate=0.04), is_gated=gated, max_frames=3)
        env.reset(seed=0)
        _, _, terminated, truncated, info = env.step_chunk(toward(env, 16, 0 * STEP))
        assert truncated[0]
        assert not terminated[0]
        assert info["depth"][0] == depth


def test_calibration_decides_what_success_is(starts: StartFile) -> None:
    doubtful = Trust(Calibration("isotonic", known=(0.0, 1.0), values=(0.0, 0.4)))
    env = make(starts, trust=doubtful)
    env.reset(seed=1)
    for _ in range(5):
        _, _, terminated, _, info = env.step_chunk(toward(env, 16))
    assert not terminated[0]
    assert info["success_probability"][0] == pytest.approx(0.4, abs=0.01)


def test_what_does_not_fit_is_refused(starts: StartFile) -> None:
    with pytest.raises(CheckpointMismatch, match="control rate"):
        ImaginedEnv(ToyModel(spec=replace(SPEC, control_rate_hz=10.0)), STATION, starts)
    with pytest.raises(CheckpointMismatch, match="actions: expected"):
        ImaginedEnv(ToyModel(spec=replace(SPEC, action_names=("a", "b", "c", "d"))), STATION, starts)
    with pytest.raises(ConfigError, match="multiple of group_size"):
        make(starts, 3, group_size=2)
    env = make(starts, 2)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros((2, 4)))
    env.reset(seed=0)
    with pytest.raises(CheckpointMismatch, match=r"actions: expected \(2, ticks, 4\)"):
        env.step_chunk(np.zeros((2, 4, 3)))
