import errno
import os
from contextlib import closing

import gymnasium as gym
import numpy as np
import pytest

from distil.errors import RunError
from distil.rollouts.service.ledger import Ledger, Memory, empty, row_keys
from distil.spaces import action_spec
from distil.types import Labels

BOX = action_spec(gym.spaces.Box(-1, 1, (2,), np.float32)).leaf
CHOICE = action_spec(gym.spaces.Discrete(3)).leaf


def keys(*numbers):
    return row_keys({"obs": np.array(numbers, np.float32)[:, None]})


def labels(*numbers):
    return Labels(actions=np.array(numbers, np.float32)[:, None] * [1, 2], mask=np.array(numbers) != 0)


def known(memory, *numbers):
    out = empty(BOX, len(numbers))
    missing = memory.get(keys(*numbers), out)
    return out, missing.tolist()


def test_an_observation_is_known_by_all_of_its_leaves():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    one = row_keys({"obs/image": image, "obs/state": np.zeros((2, 2))})
    assert one == row_keys({"obs/state": np.zeros((2, 2)), "obs/image": image})
    assert len(set(one)) == 2
    other = row_keys({"obs/image": image, "obs/state": np.array([[0.0, 0], [0, 1e-9]])})
    assert other[0] == one[0]
    assert other[1] != one[1]
    assert row_keys({"obs": np.arange(4.0)[::2, None]}) == row_keys({"obs": np.array([[0.0], [2.0]])})  # strides don't matter


def test_what_was_answered_is_remembered_and_that_there_was_no_answer_too():
    memory = Memory(BOX, 100)
    memory.put(keys(1, 0, 3), labels(1, 0, 3))
    out, missing = known(memory, 3, 4, 0)
    assert missing == [1]
    assert out.actions.tolist() == [[3, 6], [0, 0], [0, 0]]
    assert out.mask.tolist() == [True, False, False]


def test_the_newest_are_kept():
    memory = Memory(BOX, 4)
    for number in range(1, 20):
        memory.put(keys(number), labels(number))
        assert known(memory, *range(max(1, number - 3), number + 1))[1] == []
        assert len(memory) <= 8
    assert known(memory, 1)[1] == [0]


def test_labels_survive_the_process_and_a_torn_end(tmp_path):
    with closing(Ledger(tmp_path / "a" / "b", BOX)) as first, closing(Ledger(tmp_path / "a" / "b", BOX)) as second:
        first.append(keys(1, 2), labels(1, 2))
        second.append(keys(5), labels(5))
        first.append(keys(0), labels(0))
    (path,) = [p for p in (tmp_path / "a/b").iterdir() if len(p.read_bytes()) > len(second._header) + 30]
    path.write_bytes(path.read_bytes()[:-5])  # a kill inside a write
    memory = Memory(BOX, 100)
    assert Ledger(tmp_path / "a" / "b", BOX).read_into(memory) == 3
    out, missing = known(memory, 1, 2, 5, 0)
    assert missing == [3]
    assert out.actions[:3].tolist() == [[1, 2], [2, 4], [5, 10]]


def test_labels_of_other_actions_are_not_read(tmp_path):
    with closing(Ledger(tmp_path, CHOICE)) as ledger:
        ledger.append(keys(1), Labels(actions=np.array([2]), mask=np.array([True])))
    (tmp_path / "junk.labels").write_bytes(b"\x80\x04not labels")
    assert Ledger(tmp_path, BOX).read_into(Memory(BOX, 10)) == 0
    assert Ledger(tmp_path, CHOICE).read_into(Memory(CHOICE, 10)) == 1


def test_a_disk_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.*: cannot keep labels there: .*; free some space, or set .*keep=false"):
        Ledger(tmp_path / "file", BOX).append(keys(1), labels(1))


def test_short_writes_are_completed(tmp_path, power_cut):
    """Issue 8, number 24: the rest of a short write was dropped, and later labels were read from the wrong bytes."""
    power_cut.short = 7
    with closing(Ledger(tmp_path / "new" / "labels", BOX)) as ledger:
        ledger.append(keys(1, 2), labels(1, 2))
        ledger.append(keys(5), labels(5))
    assert power_cut.lost(tmp_path) == []
    memory = Memory(BOX, 100)
    assert Ledger(tmp_path / "new" / "labels", BOX).read_into(memory) == 3
    out, missing = known(memory, 1, 2, 5)
    assert (out.actions.tolist(), missing) == ([[1, 2], [2, 4], [5, 10]], [])


def test_labels_after_a_full_disk_do_not_follow_a_torn_record(tmp_path, power_cut, monkeypatch):
    with closing(Ledger(tmp_path, BOX)) as ledger:
        ledger.append(keys(1), labels(1))
        left = [7]  # bytes on the disk

        def full(descriptor, content, write=os.write):
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = write(descriptor, content[: left[0]])
            left[0] -= done
            return done

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(RunError, match="No space left on device; free some space"):
                ledger.append(keys(2), labels(2))
        ledger.append(keys(5), labels(5))
    memory = Memory(BOX, 100)
    assert Ledger(tmp_path, BOX).read_into(memory) == 2
    out, missing = known(memory, 1, 5, 2)
    assert (out.actions[:2].tolist(), missing) == ([[1, 2], [5, 10]], [2])
