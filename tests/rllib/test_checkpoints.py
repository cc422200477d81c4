from pathlib import Path

import msgpack
import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.rllib_codec import pack
from distil.rllib.checkpoints import Checkpoints, require_finite


class Algorithm:
    """Stands for RLlib's: it writes its state as RLlib does, and takes the one that it is given."""

    def __init__(self):
        self.state, self.learner_group = None, self

    def save_to_path(self, path, use_msgpack):
        assert use_msgpack
        pytest.importorskip("msgpack_numpy").patch()
        Path(path, "algorithm_state.msgpack").write_bytes(pack({"steps": 3}))
        Path(path, "env_runner").mkdir()
        Path(path, "env_runner/state.msgpack").write_bytes(pack({"w": np.ones(2)}))

    def set_state(self, state):
        self.state = state

    def foreach_learner(self, func):
        func(self)


def test_the_newest_checkpoint_is_kept_and_restored(tmp_path):
    checkpoints, algorithm = Checkpoints(tmp_path / "rllib"), Algorithm()
    checkpoints.save(algorithm, 0)
    checkpoints.save(algorithm, 1)
    checkpoints.save(algorithm, 1)  # again, after a kill before the report
    checkpoints.forget(1)
    assert [path.name for path in (tmp_path / "rllib").iterdir()] == ["0001"]
    checkpoints.restore(algorithm, 1)
    assert algorithm.state["steps"] == 3
    np.testing.assert_array_equal(algorithm.state["env_runner"]["w"], np.ones(2))


def test_msgpack_is_its_own_again(tmp_path):
    """Ray's messages are written with it."""
    before = msgpack.packb({"a": [1]}), msgpack.packb.__module__
    Checkpoints(tmp_path).save(Algorithm(), 0)
    assert (msgpack.packb({"a": [1]}), msgpack.packb.__module__) == before
    with pytest.raises(TypeError):
        msgpack.packb(np.ones(2))


def test_a_checkpoint_that_fails_leaves_nothing(tmp_path):
    class Broken(Algorithm):
        def save_to_path(self, path, use_msgpack):
            super().save_to_path(path, use_msgpack)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        Checkpoints(tmp_path / "rllib").save(Broken(), 0)
    assert not any((tmp_path / "rllib").iterdir())


OBJECTS = msgpack.packb({"w": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"}})


@pytest.mark.parametrize("data", [OBJECTS, b"\xdf\xff\xff\xff\xff", pack([1])])
def test_nothing_is_restored_that_would_be_unpickled(tmp_path, data):
    checkpoints, algorithm = Checkpoints(tmp_path), Algorithm()
    state = checkpoints.save(algorithm, 0) / "env_runner/state.msgpack"
    state.write_bytes(data)
    with pytest.raises(InputError, match=r"env_runner/state.msgpack: refused, not plain data"):
        checkpoints.restore(algorithm, 0)
    state.rename(state.with_suffix(".pkl"))
    with pytest.raises(InputError, match=r"env_runner: the run's checkpoint has no state in msgpack there; start a new run"):
        checkpoints.restore(algorithm, 0)
    assert algorithm.state is None


def test_a_network_that_diverged(tmp_path):
    folder = tmp_path / "learner_group/learner/rl_module/default_policy"
    folder.mkdir(parents=True)
    (folder / "class_and_ctor_args.pkl").write_bytes(b"")
    (folder / "module_state.msgpack").write_bytes(pack({"a": np.ones(2)}))
    require_finite(tmp_path, 7)
    (folder / "module_state.msgpack").write_bytes(pack({"a": np.ones(2), "vf.b": np.array([1, np.nan])}))
    with pytest.raises(RunError, match=r"the network diverged within 7 steps: vf.b is not finite: lower learner.learning_rate"):
        require_finite(tmp_path, 7)
