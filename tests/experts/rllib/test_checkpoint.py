import pickle

import msgpack
import numpy as np
import pytest

from distil.errors import InputError
from distil.experts.rllib.checkpoint import Weights, find_module, read_checkpoint
from distil.interchange.rllib_codec import pack, unpack

MODULES = "learner_group/learner/rl_module"


@pytest.fixture
def folder(rllib, tmp_path):
    return rllib.Made(model={"fcnet_hiddens": [4]}).save(tmp_path / "c")


def test_a_checkpoint_is_found_by_its_folders_and_read(rllib, folder):
    module = folder / MODULES / "default_policy"
    for path in (folder, folder / "learner_group/learner", folder / MODULES, module):
        assert find_module(path) == module
    found = read_checkpoint(folder)
    assert found.module.endswith("DefaultPPOTorchRLModule")
    assert (found.observation, found.action) == (rllib.VECTOR, rllib.BOX)
    assert found.settings["fcnet_hiddens"] == [4]
    weight = found.weights.take("pi.net.mlp.0.weight", (4, 4))
    np.testing.assert_array_equal(weight, unpack((module / "module_state.msgpack").read_bytes())["pi.net.mlp.0.weight"])


def test_settings_may_be_rllibs_own_class(rllib, tmp_path):
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    made = rllib.Made(model={"fcnet_hiddens": [4]})
    made.module.model_config = DefaultModelConfig(fcnet_hiddens=[4], vf_share_layers=False)
    assert read_checkpoint(made.save(tmp_path)).settings["fcnet_hiddens"] == [4]


def test_what_needs_unpickling_is_refused_with_the_way_to_save_it(rllib, tmp_path):
    folder = rllib.Made().save(tmp_path, msgpack=False)
    with pytest.raises(InputError, match=r"module_state.pkl: a pickle, .*save_to_path\(PATH, use_msgpack=True\)"):
        read_checkpoint(folder)


def test_several_modules_and_none(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_checkpoint(tmp_path / "nothing")
    with pytest.raises(InputError, match="not a checkpoint of RLlib"):
        read_checkpoint(tmp_path)
    (tmp_path / "policies").mkdir()
    with pytest.raises(InputError, match="RLlib's old API stack"):
        read_checkpoint(tmp_path)
    module = folder / MODULES / "default_policy"
    other = module.with_name("other")
    other.mkdir()
    for path in module.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"holds the modules default_policy, other; set expert.path to the folder of one"):
        read_checkpoint(folder)


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("value", [Bomb(), {"class": Bomb()}, {"class": 1}, {"class": int, "ctor_args_and_kwargs": 3}, 0])
def test_nothing_in_the_class_file_is_executed(folder, value, capsys):
    (folder / MODULES / "default_policy/class_and_ctor_args.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=r"class_and_ctor_args.pkl: (refused|does not say)"):
        read_checkpoint(folder)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "state",
    [
        b"\xdf\xff\xff\xff\xff",  # four billion entries
        b"\x81\xa1w\xc6\xff\xff\xff\xff",
        pickle.dumps({"w": np.zeros(1)}),
        msgpack.packb({"w": {b"nd": True, b"type": "<f4", b"kind": b"", b"shape": [1 << 40], b"data": b""}}),
        msgpack.packb({"w": {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": b"x"}}),
        pack({"w": np.zeros(1, np.int64)}),
        pack({"w": "x"}),
        pack({3: np.zeros(1)}),
        pack([1]),
    ],
)
def test_hostile_weights_are_refused_in_one_line(folder, state):
    (folder / MODULES / "default_policy/module_state.msgpack").write_bytes(state)
    with pytest.raises(InputError, match=r"module_state.msgpack: refused, not plain weights") as caught:
        read_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_weights_have_the_expected_shape_and_are_all_used(tmp_path):
    weights = Weights({"a": np.zeros((2, 3)), "vf.b": np.zeros(1), "vfx": np.zeros(1)}, tmp_path)
    with pytest.raises(InputError, match=r"a has shape \(2, 3\), its settings say \(3, 2\)"):
        weights.take("a", (3, 2))
    with pytest.raises(InputError, match="has no parameter c"):
        weights.take("c", (1,))
    with pytest.raises(InputError, match="parameters vfx are not part of a supported network"):
        weights.require_used(("vf",))
    weights.require_used(("vf", "vfx"))
