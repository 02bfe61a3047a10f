"""`tandem station new` and `tandem doctor --station` on made-up machines and on stand-ins."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from hardware import station_check
from hardware.device_tree import realsense_cameras, runs, serial_ports, video_devices
from hardware.stand_ins.franky_arm import FrankyProcess
from hardware.stand_ins.servo_arms import HOT_C, ServoStandIn, dynamixel, feetech
from hardware.station_check import check_arm, check_realtime, check_serial, check_station, check_usb, check_video
from hardware.station_new import Devices, New, list_devices, make, run
from robot.errors import ConfigError, DeviceNotFound
from robot.finding import Finding
from robot.specs import StationSpec, load_station
from tests.hardware.made_tree import MadeTree


@pytest.fixture
def tree(tmp_path: Path) -> MadeTree:
    return MadeTree(tmp_path / "root")


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def so101_at(address: str) -> StationSpec:
    station = load_station("so101")
    return replace(station, arm=replace(station.arm, address=address))


def test_devices_are_found_by_their_stable_names(tree: MadeTree) -> None:
    follower = tree.plug_serial("usb-FTDI_follower-if00", "ttyUSB0", latency_ms=16)
    leader = tree.plug_serial("usb-1a86_leader-if00", "ttyACM0")
    front = tree.plug_video("usb-cam_front", 0)
    tree.plug_realsense(speed_mbit_s=480)
    assert [(port.path, port.tty, port.latency_ms) for port in serial_ports(tree.root)] == [
        (leader, "ttyACM0", None),
        (follower, "ttyUSB0", 16),
    ]
    assert [camera.path for camera in video_devices(tree.root)] == [front], "metadata nodes give no pictures"
    assert [camera.speed_mbit_s for camera in realsense_cameras(tree.root)] == [480]
    found = run(Devices(tree.root))
    assert (found["serial"], found["uvc"]) == ([leader, follower], [front])


def test_an_adapter_without_an_id_is_found_by_its_place(tree: MadeTree) -> None:
    tree.write("dev/ttyUSB3")
    tree.link("dev/serial/by-path/pci-0000:1", "../../ttyUSB3")
    assert [port.path for port in serial_ports(tree.root)] == ["/dev/serial/by-path/pci-0000:1"]


def test_an_empty_machine_has_nothing(tree: MadeTree) -> None:
    assert list_devices(tree.root) == {"ok": True, "serial": [], "uvc": [], "realsense": []}
    assert not runs("ModemManager", tree.root)


def test_a_new_station_takes_the_only_adapter_and_camera(tree: MadeTree, tmp_path: Path) -> None:
    port, front = tree.plug_serial("usb-arm", "ttyACM0"), tree.plug_video("usb-cam", 0)
    path = tmp_path / "cells" / "mine.yaml"
    make(New(like="so101", path=path, cameras=("front=uvc",), ask=False, root=tree.root))
    station = load_station(path)
    assert (station.name, station.arm.address) == ("mine", port)
    assert station.arm.joints == load_station("so101").arm.joints
    assert [(camera.name, camera.driver, camera.options) for camera in station.cameras] == [
        ("front", "uvc", {"path": front})
    ]
    assert set(yaml.safe_load(path.read_text())) == {"like", "name", "arm", "cameras"}, "no joint is written twice"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, ConfigError, "2 serial adapters.*usb-follower.*usb-leader"),
        ({"like": "fr3"}, ConfigError, "--address"),
        ({"like": "so101_sim"}, ConfigError, "simulated station.*fr3"),
        ({"address": "/dev/x", "cameras": ("front",)}, ConfigError, "NAME=uvc"),
        ({"address": "/dev/x", "cameras": ("front=uvc",)}, ConfigError, "0 uvc cameras"),
        ({"path": Path("mine.txt")}, ConfigError, "ends in .yaml"),
    ],
)
def test_what_is_not_clear_is_not_guessed(
    tree: MadeTree, tmp_path: Path, given: dict[str, object], error: type[Exception], words: str
) -> None:
    tree.plug_serial("usb-leader", "ttyACM0")
    tree.plug_serial("usb-follower", "ttyACM1")
    config = New(like="so101", path=tmp_path / "mine.yaml", ask=False, root=tree.root)
    with pytest.raises(error, match=words):
        make(replace(config, **given))
    assert not list(tmp_path.glob("*.yaml"))


def test_nothing_plugged_in_says_so(tree: MadeTree, tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFound, match="no serial adapter"):
        make(New(like="so101", path=tmp_path / "mine.yaml", ask=False, root=tree.root))


def test_a_station_is_never_overwritten(tree: MadeTree, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not overwritten"):
        make(New(like="so101", path=path, address="/dev/x", root=tree.root))
    assert path.read_text() == "precious"


def test_the_adapter_of_a_servo_bus(tree: MadeTree) -> None:
    path = tree.plug_serial("usb-arm", "ttyUSB0", latency_ms=16)
    tree.run("ModemManager")
    found = by_name(check_serial(so101_at(path), tree.root))
    assert found["serial"].status == "ok"
    assert "latency_timer" in found["serial latency"].advice
    assert "ID_MM_DEVICE_IGNORE" in found["ModemManager"].advice
    assert "serial name" not in found
    assert path in by_name(check_serial(so101_at("/dev/ttyUSB0"), tree.root))["serial name"].advice
    missing = by_name(check_serial(so101_at("/dev/serial/by-id/usb-other"), tree.root))
    assert missing["serial"].status == "fail"
    assert path in missing["serial"].found


def test_an_adapter_with_a_short_timer_and_no_prober_is_fine(tree: MadeTree) -> None:
    path = tree.plug_serial("usb-arm", "ttyUSB0", latency_ms=1)
    assert {finding.status for finding in check_serial(so101_at(path), tree.root)} == {"ok"}


@pytest.mark.parametrize(("speed_mbit_s", "status"), [(480, "fail"), (5000, "ok")])
def test_a_realsense_needs_usb_3(tree: MadeTree, speed_mbit_s: int, status: str) -> None:
    tree.plug_realsense(speed_mbit_s=speed_mbit_s)
    assert [finding.status for finding in check_usb(tree.root)] == [status]


def test_a_video_device_that_is_not_there_is_told_with_those_that_are(tree: MadeTree) -> None:
    front = tree.plug_video("usb-front", 0)
    station = load_station("fr3_sim")
    camera = replace(station.cameras[0], driver="uvc", options={"path": "/dev/v4l/by-id/usb-gone-video-index0"})
    (found,) = check_video(replace(station, cameras=(camera,)), tree.root)
    assert found.status == "warn"
    assert front in found.found


def test_only_a_franka_arm_cannot_do_without_a_real_time_kernel(tree: MadeTree) -> None:
    franka, so101 = load_station("fr3"), load_station("so101")
    assert by_name(check_realtime(franka, tree.root))["kernel"].status == "fail"
    assert by_name(check_realtime(so101, tree.root))["kernel"].status == "ok"
    tree.write("sys/kernel/realtime", "1\n")
    tree.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    found = by_name(check_realtime(franka, tree.root))
    assert (found["kernel"].status, found["CPU governor"].status) == ("ok", "warn")


def test_a_robot_that_is_there_is_read_and_not_moved(tree: MadeTree, tmp_path: Path) -> None:
    pytest.importorskip("franky", reason="needs franky-control: pip install '.[franka]'")
    pytest.importorskip("franky_sim", reason="needs franky-sim: pip install '.[franka-sim]'")
    with FrankyProcess() as robot:
        path = tmp_path / "cell.yaml"
        arm = {"address": robot.greeting["address"], "options": {"realtime": "ignore"}}
        path.write_text(yaml.safe_dump({"like": "fr3", "name": "cell", "arm": arm}))
        before = robot.state()["position"]
        found = by_name(check_station(str(path), tree.root))
        assert found["arm"].status in ("ok", "warn"), found["arm"]
        assert "readings/s" in found["arm"].found
        assert found["arm limits"].status == "ok"
        assert "mode Idle" in found["arm health"].found
        assert robot.state()["position"] == pytest.approx(before, abs=1e-3)


@pytest.mark.parametrize("open_stand_in", [feetech, dynamixel])
def test_a_servo_arm_is_read_without_torque_and_a_hot_servo_is_told(
    open_stand_in: Callable[[], AbstractContextManager[ServoStandIn]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_check, "WATCHED_S", 0.4)
    with open_stand_in() as stand_in:
        pytest.importorskip(stand_in.sdk[0], reason="needs the vendor's SDK")
        before = stand_in.joints()
        found = by_name(check_arm(stand_in.station))
        assert found["arm"].status in ("ok", "warn"), found["arm"]
        assert found["arm limits"].status == "ok"
        assert "voltage_min_v" in found["arm health"].found
        assert "arm state" not in found
        joints, powered = stand_in.powered_joints()
        np.testing.assert_array_equal(joints, before)
        assert not powered.any(), "looking gives no torque"
        stand_in.fail()
        hot = by_name(check_arm(stand_in.station))["arm state"]
        assert (hot.status, f"{HOT_C:g} C" in hot.found) == ("fail", True), hot


def test_doctor_fails_where_a_device_of_the_station_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "cell.yaml"
    arm = {"address": "127.9.9.9", "options": {"realtime": "ignore"}}
    path.write_text(yaml.safe_dump({"like": "fr3", "name": "cell", "arm": arm}))
    words = [sys.executable, "-m", "robot.cli", "doctor", "--no-render", "--station", str(path), "--json"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=120)
    rows = json.loads(answer.stdout.splitlines()[-1])["rows"]
    assert answer.returncode == 1
    assert any(row["name"] == "arm" and row["status"] == "fail" for row in rows)
