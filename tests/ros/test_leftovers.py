"""Segments of the dead are removed, those of the living never."""

import subprocess
import sys
from pathlib import Path

from robot.ros.leftovers import remove_leftovers

HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"


def segment(folder: Path, name: str, size: int) -> Path:
    (folder / f"fastrtps_{name}").write_bytes(bytes(size))
    lock = folder / f"fastrtps_{name}_el"
    lock.touch()
    return lock


def test_only_segments_whose_process_is_dead_are_removed(tmp_path: Path) -> None:
    living, dead, port = (segment(tmp_path, name, 100) for name in ("living", "dead", "port7412"))
    (tmp_path / "somebody_elses_el").touch()
    words = [sys.executable, "-c", HOLD, str(living)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert remove_leftovers(tmp_path) == 100
        left = {path.name for path in tmp_path.iterdir()}
        holder.kill()
    assert left == {living.name, "fastrtps_living", port.name, "fastrtps_port7412", "somebody_elses_el"}
    assert not dead.exists()
    assert remove_leftovers(tmp_path) == 100, "killed: its lock is free"


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "none") == 0
