import numpy as np
import pytest

from distil.errors import InputError
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.layout import read_layout

RNG = np.random.default_rng(0)


@pytest.fixture
def read(made, tmp_path):
    return lambda state, **data: read_layout(read_archive(made.write_zip(tmp_path / "m.zip", data, state)))


def test_what_is_not_supported_says_so(made, read):
    ok = made.linear(RNG, 3, 2, "action_net.0")
    with pytest.raises(InputError, match=r"a feature extractor \(a CNN, for one\); only MLP policies are read. Wrap"):
        read(ok | {"features_extractor.cnn.0.weight": np.zeros((1, 1, 1, 1))})
    with pytest.raises(InputError, match=r"a recurrent network"):
        read(ok | {"lstm_actor.weight_ih_l0": np.zeros((4, 1))})
    with pytest.raises(InputError, match=r"parameters what.weight ... are of none of PPO"):
        read({"what.weight": np.zeros(3)})
    with pytest.raises(InputError, match=r"activation Relu isn't supported; did you mean ReLU\?; only Tanh"):
        read(ok, policy_kwargs={"activation_fn": "<class 'torch.nn.modules.activation.Relu'>"})


def test_damaged_networks(made, read):
    with pytest.raises(InputError, match=r"layers of shapes \(4, 3\) and \(2, 5\) don't follow one another"):
        read(made.linear(RNG, 3, 4, "action_net.0") | made.linear(RNG, 5, 2, "action_net.2"))
    with pytest.raises(InputError, match=r"action_net.0 has weights of shape \(3,\); only plain linear"):
        read({"action_net.0.weight": np.zeros(3)})
    with pytest.raises(InputError, match=r"has no parameter action_net.weight"):
        read(made.linear(RNG, 3, 4, "mlp_extractor.policy_net.0"))


def test_settings_that_tell_algorithms_apart(made, read):
    actor = (
        made.linear(RNG, 3, 4, "actor.latent_pi.0")
        | made.linear(RNG, 4, 1, "actor.mu")
        | made.linear(RNG, 4, 1, "actor.log_std")
    )
    assert read(actor).algos == ("sac", "tqc")
    assert read(actor, top_quantiles_to_drop_per_net=2).algos == ("tqc", "sac")
