from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.pickles import Record
from distil.experts.rllib.architecture import read_architecture
from distil.experts.rllib.checkpoint import Checkpoint, Weights

PPO = "ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module.DefaultPPOTorchRLModule"
SAC = "ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module.DefaultSACTorchRLModule"
TRUNK = "encoder.encoder.net.mlp"


def affine(name, num_in, num_out):
    return {f"{name}.weight": np.ones((num_out, num_in), np.float32), f"{name}.bias": np.zeros(num_out, np.float32)}


@pytest.fixture
def made(tmp_path):
    def made(more=None, settings=None, **changes):
        arrays = affine(f"{TRUNK}.0", 3, 4) | affine("pi.net.mlp.0", 4, 4) | affine("vf.net.mlp.0", 4, 1) | (more or {})
        checkpoint = Checkpoint(
            path=tmp_path,
            module=PPO,
            catalog="",
            settings={"fcnet_hiddens": [4], **(settings or {})},
            observation=spaces.Box(-1, 1, (3,)),
            action=spaces.Box(-1, 1, (2,)),
            weights=Weights(arrays, tmp_path),
        )
        return replace(checkpoint, **changes)

    return made


def test_layers_are_those_of_the_settings(made):
    found = read_architecture(made())
    assert [(len(layer.weight), layer.activation) for layer in found.layers] == [(4, "Tanh"), (4, None)]
    assert (found.output, found.num_actions, found.log_std) == ("identity", 2, None)


def test_a_free_deviation(made):
    more = affine("pi.net.mlp.0", 4, 2) | {"pi.log_std": np.array([0.5, 1], np.float32)}
    found = read_architecture(made(more, {"free_log_std": True}))
    np.testing.assert_array_equal(found.log_std, [0.5, 1])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"module": "mine.Module"}, "mine.Module is not one of RLlib's own"),
        ({"catalog": "mine.Catalog"}, "mine.Catalog is not one of RLlib's own"),
        ({"module": SAC}, "has no parameter pi_encoder"),
        ({"more": {"extra.weight": np.zeros(1, np.float32)}}, "parameters extra.weight are not part of a supported network"),
        ({"more": affine(f"{TRUNK}.2", 4, 4)}, "parameters encoder.encoder.net.mlp.2"),
        ({"more": {f"{TRUNK}.0.bias": np.full(4, np.nan, np.float32)}}, "numbers that aren't finite"),
        (
            {"settings": {"fcnet_hiddens": [5]}},
            r"encoder.encoder.net.mlp.0.weight has shape \(4, 3\), its settings say \(5, 3\)",
        ),
        ({"settings": {"fcnet_hiddens": ["x"]}}, "its setting fcnet_hiddens makes no sense"),
        ({"settings": {"free_log_std": 3}}, "its setting free_log_std makes no sense"),
        ({"settings": {"use_lstm": True}}, "a recurrent network"),
        ({"settings": {"fcnet_activation": "Hardtanh"}}, "fcnet_activation=Hardtanh; known are linear, Tanh"),
        ({"settings": {"fcnet_activation": 3}}, "fcnet_activation=3; known are"),
        ({"observation": spaces.Box(0, 255, (8, 8, 3), np.uint8)}, "only flat vectors are supported"),
        ({"observation": spaces.Discrete(3)}, "only flat vectors are supported"),
        ({"action": spaces.MultiBinary(2)}, r"its actions are MultiBinary\(2\), which isn't supported"),
    ],
)
def test_other_networks_are_refused(made, changes, fault):
    with pytest.raises(InputError, match=fault) as caught:
        read_architecture(made(**changes))
    assert "\n" not in str(caught.value)


def test_activations_may_be_classes(made):
    kind = type("Record", (Record,), {"origin": "torch.nn.modules.activation.ReLU"})
    found = read_architecture(made(settings={"fcnet_activation": kind}))
    assert found.encoder[0].activation == "ReLU"
