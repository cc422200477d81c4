import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3.architecture import read_architecture
from distil.experts.sb3.archive import read_archive

RNG = np.random.default_rng(0)


class Spaces:
    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)


@pytest.fixture
def read(made, tmp_path):
    def read(state, policy="ars", **data):
        return read_architecture(read_archive(made.write_zip(tmp_path / "m.zip", made.settings(Spaces, policy, **data), state)))

    return read


@pytest.fixture
def ppo(made):
    return made.linear(RNG, 3, 4, "mlp_extractor.policy_net.0") | made.linear(RNG, 4, 2, "action_net")


@pytest.fixture
def sac(made):
    return made.linear(RNG, 3, 4, "actor.latent_pi.0") | made.linear(RNG, 4, 2, "actor.mu")


def test_every_parameter_of_the_actor_is_used_or_the_zip_is_refused(made, read, ppo, sac):
    """CORRECTNESS 36."""
    read(ppo | made.linear(RNG, 4, 1, "value_net") | made.linear(RNG, 3, 4, "mlp_extractor.value_net.0"), "ppo")
    read(sac | made.linear(RNG, 4, 2, "actor.log_std") | made.linear(RNG, 5, 1, "critic.qf0.0"), "sac")
    fault = r"parameters {} are not part of a supported \S+: wrap the model as expert.kind=import"
    for state, policy, name in (
        (ppo | {"features_extractor.cnn.0.weight": np.zeros((1, 1, 1, 1))}, "ppo", r"features_extractor.cnn.0.weight"),
        (ppo | {"lstm_actor.weight_ih_l0": np.zeros((4, 1))}, "ppo", "lstm_actor.weight_ih_l0"),
        (ppo | {"mlp_extractor.policy_net.1.running_mean": np.zeros(4)}, "ppo", r"mlp_extractor.policy_net.1.running_mean"),
        (ppo | {"scale": np.zeros(3)}, "ppo", "scale"),
        (sac | {"actor.latent_pi.0.scale": np.zeros(3)}, "sac", r"actor.latent_pi.0.scale"),
        (sac | {"actor.features_extractor.w": np.zeros(3)}, "tqc", r"actor.features_extractor.w"),
        (
            made.linear(RNG, 3, 2, "actor.mu.0") | made.linear(RNG, 3, 2, "actor.skip"),
            "td3",
            "actor.skip.weight, actor.skip.bias",
        ),
        (made.linear(RNG, 3, 2, "q_net.q_net.0") | {"q_net.gain": np.zeros(1)}, "dqn", "q_net.gain"),
        (made.linear(RNG, 3, 2, "action_net.0") | made.linear(RNG, 3, 2, "own"), "ars", "own.weight, own.bias"),
    ):
        with pytest.raises(InputError, match=fault.format(name)):
            read(state, policy)


def test_layers_other_than_a_plain_mlp(made, read):
    with pytest.raises(InputError, match=r"action_net.\{0,3\} aren't layers of a plain MLP"):  # such as a LayerNorm between
        read(made.linear(RNG, 3, 4, "action_net.0") | made.linear(RNG, 4, 2, "action_net.3"))
    state = made.linear(RNG, 3, 4, "action_net.0") | made.linear(RNG, 4, 2, "action_net.2")
    with pytest.raises(InputError, match=r"hidden layers have widths \[4\], but its net_arch says \[8, 8\]"):
        read(state, policy_kwargs={"net_arch": [8, 8]})
    with pytest.raises(InputError, match=r"hidden layers have widths \[4\], but its net_arch says \[\]"):
        read(state, "linear ars")


def test_damaged_networks(made, read):
    with pytest.raises(InputError, match=r"layers of shapes \(4, 3\) and \(2, 5\) do not chain"):
        read(made.linear(RNG, 3, 4, "action_net.0") | made.linear(RNG, 5, 2, "action_net.2"))
    with pytest.raises(InputError, match=r"action_net.0 has weights of shape \(3,\); only plain linear"):
        read({"action_net.0.weight": np.zeros(3)})
    for policy, name in (("ppo", "action_net.weight"), ("sac", "actor.mu.weight"), ("ars", "action_net.weight")):
        with pytest.raises(InputError, match=rf"has no parameter {name}"):
            read(made.linear(RNG, 3, 4, "mlp_extractor.policy_net.0"), policy)
    for policy in ("td3", "dqn", "qrdqn"):
        with pytest.raises(InputError, match=r"has no parameters of a stable_baselines3.td3|of a stable_base|of a sb3_contrib"):
            read(made.linear(RNG, 3, 4, "what"), policy)
    for num in ("x", 0, 2.5, 3, float("nan"), [1]):
        with pytest.raises(InputError, match=r"quantiles"):
            read(made.linear(RNG, 3, 10, "quantile_net.quantile_net.0"), "qrdqn", policy_kwargs={"n_quantiles": num})


def test_settings_that_distinguish_algorithms(read, ppo, sac):
    assert read(sac, "sac").algos == ("sac",)
    assert read(sac, "tqc").algos == ("tqc",)
    assert read(ppo, "ppo").algos[0] == "a2c"
    assert read(ppo, "ppo", clip_range=0.2).algos[0] == "ppo"
    assert read(ppo, "ppo", cg_max_steps=15).algos[0] == "trpo"
