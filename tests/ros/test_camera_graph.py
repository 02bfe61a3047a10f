"""Camera drivers in a graph of real processes: a RealSense with depth, a UVC camera, and a topic as a camera."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("pyrealsense2")

from hardware.bench_cameras import MODE, POSE, write_station
from hardware.stand_ins.moving_scene import FAR_MM, NEAR_MM, RED
from hardware.stand_ins.realsense_recording import FIRMWARE, FOCAL, SERIAL
from robot.episode import Episode
from robot.ros import topics
from robot.ros.description import GraphOptions, describe
from robot.ros.messages import from_stamp
from robot.ros.running_graph import RunningGraph, running_graph
from tests.domains import some_domain

pytestmark = [pytest.mark.ros, pytest.mark.slow]
SECONDS = 3.0


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningGraph, Path]]:
    folder = tmp_path_factory.mktemp("cameras")
    station = write_station(folder)
    tree = yaml.safe_load(station.read_text())
    relay = {"name": "relay", "driver": "ros_image", "options": {"topic": "uvc/color/image_raw"}}
    tree["cameras"].append(relay | POSE | MODE)
    station.write_text(yaml.safe_dump(tree))
    store = folder / "store"
    specs = describe(GraphOptions(station=str(station), task="reach", operator="none", record=str(store)))
    assert [spec.module for spec in specs if spec.name in ("realsense", "uvc", "relay")] == ["hardware.camera_node"] * 3
    with running_graph(specs, domain_id=some_domain()) as running:
        yield running, store


def test_all_cameras_publish_at_their_rate_with_rising_stamps(graph: tuple[RunningGraph, Path]) -> None:
    client, stamps, infos = graph[0].client, {name: [] for name in ("realsense", "uvc", "relay")}, []
    for name, found in stamps.items():
        client.subscribe(
            topics.COLOR_IMAGE.of(name),
            lambda m, found=found: found.append((from_stamp(m.header.stamp), time.time_ns())),
        )
    client.subscribe(topics.COLOR_INFO.of("realsense"), infos.append)
    client.wait(lambda: all(len(found) > 10 for found in stamps.values()), 20.0, "frames of all cameras")
    for found in stamps.values():
        found.clear()
    time.sleep(SECONDS)
    for name, found in stamps.items():
        times = np.array(found)
        ages_ms = (times[:, 1] - times[:, 0]) / 1e6
        assert (np.diff(times[:, 0]) > 0).all()
        assert len(times) > 0.75 * SECONDS * MODE["rate_hz"], f"{name}: {len(times)} frames"
        assert ages_ms.min() >= 0.0 and np.median(ages_ms) < 100.0
    original = np.array([stamp for stamp, _ in stamps["uvc"]])
    apart_ns = [np.abs(original - stamp).min() for stamp, _ in stamps["relay"]]
    assert np.median(apart_ns) < 1_000_000, "a relayed frame keeps the time it was taken at"
    assert (infos[0].k[0], infos[0].k[4], infos[0].k[2]) == (FOCAL, FOCAL, 320.0), "the device's own optics"


def test_images_and_depth_are_recorded(graph: tuple[RunningGraph, Path]) -> None:
    running, store = graph
    state = running.client.start_episode(1, autonomous=False)
    time.sleep(2.0)
    running.client.command("stop")
    running.client.wait_for_end(state.id, 5.0)
    path = store / "episodes" / f"{state.id}.zarr"
    running.client.wait(path.exists, 15.0, "the episode in the store")
    episode = Episode(path)
    assert set(episode.info.cameras) == {"realsense", "realsense_depth", "uvc", "relay"}
    step = len(episode) - 1
    for camera in ("realsense", "uvc", "relay"):
        middle = np.median(episode.image(camera, step).reshape(-1, 3), axis=0)
        np.testing.assert_allclose(middle, RED, atol=12)
    depth = episode.image("realsense_depth", step)
    assert depth.dtype == np.uint16 and set(np.unique(depth)) <= {0, NEAR_MM, FAR_MM}
    assert (depth == NEAR_MM).any() and (depth == FAR_MM).mean() > 0.8
    times = episode.columns
    together = times["time_ns/image/realsense"] == times["time_ns/image/realsense_depth"]
    assert together.mean() > 0.7, "a picture and its depth are of one time"


def test_diagnostics_tell_what_a_camera_is(graph: tuple[RunningGraph, Path]) -> None:
    client = graph[0].client
    client.wait(lambda: client.status("realsense"), 5.0, "diagnostics")
    values = client.status("realsense").values
    assert (values["serial"], values["firmware"], values["usb"]) == (SERIAL, FIRMWARE, "3.2")
    assert values["state"] == "connected"


def test_a_capture_process_that_hangs_is_told_and_replaced(graph: tuple[RunningGraph, Path]) -> None:
    running = graph[0]
    client, node = running.client, running.processes["uvc"].pid
    tasks = Path(f"/proc/{node}/task").iterdir()
    (child,) = (int(pid) for task in tasks for pid in (task / "children").read_text().split())
    frames: list[float] = []
    client.subscribe(topics.COLOR_IMAGE.of("uvc"), lambda _: frames.append(time.monotonic()))
    client.wait(lambda: len(frames) > 10, 10.0, "frames")
    os.kill(child, signal.SIGSTOP)
    stopped_s = time.monotonic()

    def is_stale() -> bool:
        said = client.status("uvc")
        return said is not None and "no new picture" in said.message

    client.wait(is_stale, 5.0, "the camera node to say so")
    assert max(frames) < stopped_s + 0.5, "nothing is published meanwhile"
    client.wait(lambda: max(frames) > stopped_s + 1.0, 30.0, "pictures from a new process")
    client.wait(lambda: client.status("uvc").values["process_restarts"] == "1", 5.0, "the count of restarts")
    assert not Path(f"/proc/{child}").exists()


def test_a_camera_that_was_started_again_is_brought_up_again(graph: tuple[RunningGraph, Path]) -> None:
    running = graph[0]
    client = running.client
    frames: list[float] = []
    client.subscribe(topics.COLOR_IMAGE.of("realsense"), lambda _: frames.append(time.monotonic()))
    client.wait(lambda: frames, 10.0, "frames")
    running.processes["realsense"].send(signal.SIGKILL)
    killed_s = time.monotonic()

    def is_back() -> bool:
        running.check()  # what `tandem up` does all the time
        return max(frames) > killed_s + 1.0

    client.wait(is_back, 30.0, "frames of the new process")
    client.wait(lambda: client.status("health").values["not_up"] == "", 5.0, "health to know")
    assert client.status("arm").values["lifecycle"] == "active"
