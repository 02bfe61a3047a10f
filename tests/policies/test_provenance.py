"""What a result says of the code it was measured with."""

import subprocess
from pathlib import Path

from policies.run import provenance


def test_measured_results_make_no_tree_dirty_and_changed_code_does(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words], cwd=tmp_path, check=True)

    code, cell = tmp_path / "policies/one.py", tmp_path / "benchmarks/results/cell.json"
    for path in (code, cell):
        path.parent.mkdir(parents=True)
        path.write_text("1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    cell.write_text("2\n")
    found = provenance(code.parent)
    assert len(found["commit"]) == 40
    assert not found["is_dirty"]
    code.write_text("2\n")
    assert provenance(code.parent)["is_dirty"]
