"""Checkpoint files as they come: whole, foreign, cut short, changed; and paths that are nearly right."""

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from policies.base.behavior_cloning import BehaviorCloning
from policies.checkpoint import load_policy, read_content, restore_policy, save_policy
from robot.checkpoint_file import find_policy, read_declared, read_file
from robot.cli import main
from robot.errors import CheckpointMismatch


@pytest.fixture
def checkpoint(base: BehaviorCloning, tmp_path: Path) -> Path:
    save_policy(tmp_path / "runs/peg-bc/policy.safetensors", base)
    return tmp_path / "runs/peg-bc/policy.safetensors"


def test_without_torch_a_file_declares_what_its_policy_says(checkpoint: Path, base: BehaviorCloning) -> None:
    declared = read_declared(checkpoint.parent)
    assert (declared.kind, declared.path) == ("bc", checkpoint)
    assert declared.spec == base.spec == load_policy(checkpoint).spec
    assert read_file(checkpoint).sha256 == declared.sha256


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def own_tree(**changes: object) -> bytes:
    return save({}, metadata={"tandem": json.dumps({"sha256": "0" * 64, "tree": "{}", **changes})})


FOREIGN = {
    "another project's safetensors": (save({"w": torch.ones(2)}, metadata={"format": "pt"}), "not written by Tandem"),
    "safetensors without metadata": (save({"w": torch.ones(2)}), "not written by Tandem"),
    "a PyTorch pickle": (saved(lambda out: torch.save({"w": torch.ones(2)}, out)), "unpickles nothing"),
    "a Python pickle": (pickle.dumps({"w": [1.0]}), "unpickles nothing"),
    "a zip archive": (saved(lambda out: zipfile.ZipFile(out, "w").writestr("a", "b")), "unpickles nothing"),
    "a numpy array": (saved(lambda out: np.save(out, np.ones(3))), "cut short, or no safetensors file"),
    "random bytes": (random.Random(0).randbytes(5000), "cut short, or no safetensors file"),
    "an empty file": (b"", "only 0 bytes"),
    "zeros": (b"\0" * 64, "no safetensors header"),
    "text": (b"policy: none\n" * 9, "cut short, or no safetensors file"),
    "a header that is no object": ((2).to_bytes(8, "little") + b"[]", "no safetensors header"),
    "an entry that is no object": (save({}, metadata={"tandem": "[]"}), "'tandem' is broken"),
    "an entry without a tree": (save({}, metadata={"tandem": "{}"}), "'tandem' is broken"),
    "another hash": (own_tree(), "is damaged: sha256 expected 000"),
    "a tree that is no text": (own_tree(tree=[1]), "'tandem' is broken"),
}


@pytest.mark.parametrize(("data", "expected"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_one_clear_error(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(data)
    for read in (load_policy, read_declared):
        with pytest.raises(CheckpointMismatch) as refused:
            read(path)
        assert expected in str(refused.value)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_truncated_file_is_refused_wherever_it_ends(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for share in (0.001, 0.01, 0.3, 0.7, 0.99):
        checkpoint.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointMismatch, match=r"cut short|only"):
            load_policy(checkpoint)
    checkpoint.write_bytes(whole[:-1])
    with pytest.raises(CheckpointMismatch, match="cut short"):
        load_policy(checkpoint)


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Change a file in one of the ways that disks, copies and editors do; half of the time in its header."""
    changed = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    at = dice.randrange(header) if dice.random() < 0.5 else dice.randrange(len(data))
    kind = dice.randrange(6)
    if kind == 0:
        changed[at] ^= 1 << dice.randrange(8)
    elif kind == 1:
        changed[at : at + 8] = dice.randbytes(8)
    elif kind == 2:
        del changed[at : at + dice.randrange(1, 9)]
    elif kind == 3:
        changed[at:at] = dice.randbytes(dice.randrange(1, 9))
    elif kind == 4:
        digits = [i for i in range(8, header) if chr(data[i]).isdigit()]
        changed[dice.choice(digits)] = ord(dice.choice("0123456789"))
    else:
        other = dice.randrange(len(data))
        changed[at : at + 16], changed[other : other + 16] = data[other : other + 16], data[at : at + 16]
    return bytes(changed)


def test_two_hundred_mutations_never_crash_and_are_never_accepted_in_silence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, original = checkpoint.read_bytes(), read_content(checkpoint)
    dice, refused, path = random.Random(7), 0, tmp_path / "mutated.safetensors"
    for number in range(200):
        data = mutated(whole, dice)
        path.write_bytes(data)
        try:
            content = read_content(path)
            restore_policy(content)
        except CheckpointMismatch as error:
            assert "\n" not in str(error), number
            refused += 1
        else:  # only what means the same, such as white space for white space in the header
            assert content.sha256 == original.sha256, f"mutation {number} was accepted"
            assert content.spec == original.spec
    assert refused >= 180
    path.write_bytes(mutated(whole, random.Random(3)))
    assert main(["eval", "--policy", str(path), "--env", "tandem/reach"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new"), [('"F32"', '"I32"'), ('"shape":[32,64]', '"shape":[64,32]'), ('"shape":[64]', '"shape":[8,8]')]
)
def test_a_tensor_declared_as_another_dtype_or_shape_is_refused(
    base: BehaviorCloning, checkpoint: Path, old: str, new: str
) -> None:
    """The numbers are untouched, so their hash is: dtype and shape have to be covered as well."""
    shapes = {tuple(value.shape) for value in base.content().tensors.values()}
    old = old.replace("32,64", ",".join(map(str, next(s for s in shapes if len(s) == 2))))
    new = new.replace("64,32", ",".join(map(str, next(s for s in shapes if len(s) == 2)[::-1])))
    one = next(s for s in shapes if len(s) == 1 and s[0] % 8 == 0)[0]
    old, new = old.replace("[64]", f"[{one}]"), new.replace("[8,8]", f"[8,{one // 8}]")
    data = checkpoint.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].decode().rstrip()
    assert old in header
    changed = header.replace(old, new, 1).encode()
    checkpoint.write_bytes(len(changed).to_bytes(8, "little") + changed + data[8 + length :])
    with pytest.raises(CheckpointMismatch, match=r"damaged: tensor|not a readable"):
        load_policy(checkpoint)


def test_settings_of_another_version_are_named(base: BehaviorCloning) -> None:
    content = base.content()
    with pytest.raises(CheckpointMismatch, match=r"another version.*wings"):
        restore_policy(replace(content, config=content.config | {"wings": 2}))


def test_a_wrong_path_names_the_nearest_policies(
    checkpoint: Path, tmp_path: Path, base: BehaviorCloning, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_policy(tmp_path / "runs/reach-flow/policy.safetensors", base)
    save_policy(tmp_path / "runs/reach-flow/best.safetensors", base)
    save_policy(tmp_path / "runs/reach-flow/demos.safetensors", base)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    for wrong, near in [
        ("runs/peg-bcc", "runs/peg-bc"),
        ("runs/peg-bc/polcy.safetensors", "runs/peg-bc/policy.safetensors"),
        ("runs/reach-flow/bset.safetensors", "runs/reach-flow/best.safetensors"),
        ("runs", "runs/peg-bc"),
        ("elsewhere", "runs/"),
        ("rnus/peg-bc", "runs/peg-bc"),
    ]:
        with pytest.raises(CheckpointMismatch) as refused:
            find_policy(wrong)
        assert f"did you mean {near}" in str(refused.value) or near in str(refused.value).split("did you mean")[1]
        assert "demos" not in str(refused.value)
    assert find_policy("runs/peg-bc") == Path("runs/peg-bc/policy.safetensors")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(CheckpointMismatch, match="give a policy file or a run folder"):
        find_policy("nothing/here")


@pytest.mark.parametrize("verb", ["eval", "up", "record", "finetune"])
def test_every_verb_names_them(
    verb: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"finetune": ["--base", "runs/peg-bd", "--env", "tandem/reach"]}.get(verb, ["--policy", "runs/peg-bd"])
    if verb in ("up", "record"):
        pytest.importorskip("rclpy")
    assert main([verb, *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no checkpoint file at runs/peg-bd: did you mean runs/peg-bc" in error
