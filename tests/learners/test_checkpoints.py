import errno
import json
import os

import pytest
import torch

from distil.errors import RunError
from distil.learners.checkpoints import Checkpoint, Checkpoints


def checkpoint(round_index: int, step: int, done: bool = False) -> Checkpoint:
    state = {"round": round_index, "step": step, "done": done, "note": [1, "two", None]}
    return Checkpoint(tensors={"a": torch.full((2, 3), float(step)), "n": torch.tensor(step)}, state=state)


def steps(saved: Checkpoints) -> list[tuple[int, int, bool]]:
    return [(c.state["round"], c.state["step"], c.done) for c in saved.newest_first()]


def test_round_trip(tmp_path):
    saved = Checkpoints(tmp_path / "new")
    saved.save(checkpoint(0, 5))
    (found,) = saved.newest_first()
    assert found.state == checkpoint(0, 5).state
    assert found.tensors.keys() == {"a", "n"}
    assert all(torch.equal(value, found.tensors[name]) for name, value in checkpoint(0, 5).tensors.items())


def test_tensors_of_any_shape_and_type(tmp_path):
    tensors = {
        "empty": torch.empty(0),
        "empty_2d": torch.empty((0, 3), dtype=torch.int64),
        "scalar": torch.tensor(True),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "strided": torch.arange(6.0).reshape(2, 3).T,
    }
    saved = Checkpoints(tmp_path)
    saved.save(Checkpoint(tensors=tensors, state=checkpoint(0, 1).state))
    (found,) = saved.newest_first()
    assert all(torch.equal(value, found.tensors[name]) for name, value in tensors.items())


def test_the_newest_two_and_the_newest_finished_checkpoint_are_kept(tmp_path):
    saved = Checkpoints(tmp_path)
    for item in [(0, 10), (0, 20), (0, 25, True), (1, 10), (1, 20), (1, 30)]:
        saved.save(checkpoint(*item))
    assert steps(saved) == [(1, 30, False), (1, 20, False), (0, 25, True)]
    saved.save(checkpoint(1, 30, True))
    assert steps(saved) == [(1, 30, True), (1, 30, False)]


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_checkpoint_is_skipped(tmp_path, damage):
    saved = Checkpoints(tmp_path)
    saved.save(checkpoint(0, 10))
    saved.save(checkpoint(0, 20))
    path = sorted(tmp_path.iterdir())[-1]
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "flip": data, "other": json.dumps({}).encode()}[damage])
    assert steps(saved) == [(0, 10, False)]


def test_a_full_disk_is_reported_in_one_line_and_older_checkpoints_are_kept(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    saved.save(checkpoint(0, 10))

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"step-000000020\.safetensors: can't write the checkpoint: No space left") as caught:
        saved.save(checkpoint(0, 20))
    assert "\n" not in str(caught.value)
    assert steps(saved) == [(0, 10, False)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_power_cut_loses_no_checkpoint(tmp_path, power_cut):
    saved = Checkpoints(tmp_path / "run" / "checkpoints")
    for step in (10, 20, 30):
        saved.save(checkpoint(0, step))
        assert power_cut.lost(tmp_path) == []


def test_clear_removes_only_checkpoints(tmp_path):
    saved = Checkpoints(tmp_path)
    saved.save(checkpoint(0, 10))
    (tmp_path / "notes.txt").write_text("keep")
    saved.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    Checkpoints(tmp_path / "absent").clear()
