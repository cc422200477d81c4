import pickle

import msgpack
import numpy as np
import pytest

from distil.errors import InputError
from distil.interchange.rllib_codec import pack
from distil.rllib.checkpoints import Checkpoints, require_plain


class Algorithm:
    """Stands for RLlib's: it writes its state, and records what it is to read."""

    restored = None

    def save_to_path(self, path, use_msgpack):
        assert use_msgpack
        with open(f"{path}/algorithm_state.msgpack", "wb") as file:
            file.write(pack({"steps": 3, "w": np.ones(2)}))

    def restore_from_path(self, path):
        self.restored = path


def test_the_newest_checkpoint_is_kept_and_restored(tmp_path):
    checkpoints, algorithm = Checkpoints(tmp_path / "rllib"), Algorithm()
    checkpoints.save(algorithm, 0)
    checkpoints.save(algorithm, 1)
    checkpoints.save(algorithm, 1)  # again, after a kill before the report
    checkpoints.forget(1)
    assert [path.name for path in (tmp_path / "rllib").iterdir()] == ["0001"]
    checkpoints.restore(algorithm, 1)
    assert algorithm.restored == str(tmp_path / "rllib/0001")


def test_a_checkpoint_that_fails_leaves_nothing(tmp_path):
    class Broken(Algorithm):
        def save_to_path(self, path, use_msgpack):
            super().save_to_path(path, use_msgpack)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Checkpoints(tmp_path / "rllib").save(Broken(), 0)
    assert not any((tmp_path / "rllib").iterdir())


OBJECTS = msgpack.packb({"w": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"}})


@pytest.mark.parametrize(
    ("name", "data"),
    [("state.msgpack", OBJECTS), ("learner/state.pkl", pickle.dumps({})), ("module_state.msgpack", b"\xdf\xff\xff\xff\xff")],
)
def test_nothing_is_restored_that_would_be_unpickled(tmp_path, name, data):
    checkpoints, algorithm = Checkpoints(tmp_path), Algorithm()
    path = checkpoints.save(algorithm, 0)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(data)
    with pytest.raises(InputError, match=r"refused, not plain data"):
        checkpoints.restore(algorithm, 0)
    assert algorithm.restored is None


def test_a_missing_checkpoint(tmp_path):
    with pytest.raises(InputError, match="the run's checkpoint is missing; start a new run"):
        require_plain(tmp_path / "0003")
