"""Unknown policy classes, feature extractors, activations and keyword arguments are refused."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3.architecture import read_architecture
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.settings import Settings

ENV = SimpleNamespace(observation_space=spaces.Box(-1, 1, (3,), np.float32), action_space=spaces.Box(-1, 1, (2,), np.float32))
PPO = "stable_baselines3.common.policies.ActorCriticPolicy"


@pytest.fixture
def settings(made, tmp_path):
    def settings(policy="ppo", **data):
        return Settings(read_archive(made.write_zip(tmp_path / "m.zip", made.settings(ENV, policy, **data), {})), {PPO: None})

    return settings


@pytest.mark.parametrize(
    ("policy", "what"),
    [
        ("own.OwnPolicy", "a user-defined class"),
        ("__main__.ActorCriticPolicy", "a user-defined class"),
        ("stable_baselines3_fork.common.policies.ActorCriticPolicy", "a user-defined class"),
        ("sb3_contrib.crossq.policies.CrossQPolicy", "CrossQ, with batch renormalisation"),
        ("sb3_contrib.common.maskable.policies.MaskableActorCriticPolicy", "one that needs action masks"),
        ("sb3_contrib.common.recurrent.policies.RecurrentActorCriticPolicy", "a recurrent network"),
        ("stable_baselines3.common.policies.ActorCriticCnnPolicy", "a CNN for images"),
    ],
)
def test_other_policy_classes(settings, policy, what):
    """CORRECTNESS 36."""
    with pytest.raises(InputError, match=rf"its policy {policy} isn't supported: {what}.*wrap the model as expert.kind=import"):
        settings(policy)


def test_a_class_with_a_false_name_is_refused(made, settings):
    entry = made.class_entry("own.OwnPolicy") | {"__module__": "stable_baselines3.common.policies"}
    with pytest.raises(InputError, match=r"stable_baselines3.common.policies \(saved with its code\) isn't supported"):
        settings(policy_class=entry)
    with pytest.raises(InputError, match=r"its policy own \(saved with its code\) isn't supported"):
        settings(policy_class=made.class_entry(PPO) | {"__module__": "own"})
    for missing in (None, "MlpPolicy", {"__module__": "stable_baselines3.common.policies"}):
        with pytest.raises(InputError, match=r"its policy_class is missing"):
            settings(policy_class=missing)


def test_the_policys_keyword_arguments_are_checked(settings):
    own = "<class 'own.Scaled'>"
    with pytest.raises(InputError, match=r"its feature extractor <class 'own.Scaled'> isn't supported, only FlattenExtractor"):
        settings(policy_kwargs={"features_extractor_class": own})
    with pytest.raises(InputError, match=r"torch_layers.NatureCNN'> isn't supported"):
        settings(policy_kwargs={"features_extractor_class": "<class 'stable_baselines3.common.torch_layers.NatureCNN'>"})
    with pytest.raises(InputError, match=r"policy_kwargs.layer_norm is unknown and may change the network"):
        settings(policy_kwargs={"layer_norm": True})
    with pytest.raises(InputError, match=r"policy_kwargs is list"):
        settings(policy_kwargs=[1])
    known = settings(
        policy_kwargs={"features_extractor_class": "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"}
    )
    assert known.activation("Tanh") == "Tanh"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<class 'torch.nn.modules.activation.Relu'>", r"activation Relu isn't supported; did you mean ReLU\?"),
        ("<class 'own.ReLU'>", r"activation <class 'own.ReLU'> isn't supported"),
        ("functools.partial(<class 'torch.nn.modules.activation.LeakyReLU'>, negative_slope=0.5)", r"isn't supported"),
        ("<function <lambda> at 0x7f>", r"isn't supported"),
        ("<class 'torch.nn.modules.activation.PReLU'>", r"activation PReLU isn't supported"),
        ("ReLU", r"activation ReLU isn't supported"),
    ],
)
def test_other_activations(settings, text, fault):
    with pytest.raises(InputError, match=fault):
        settings(policy_kwargs={"activation_fn": text})


def test_keyword_arguments(settings):
    own = settings(policy_kwargs={"squash_output": "True", "clip_mean": "0.5", "net_arch": [4, {"pi": [3], "vf": [9]}]})
    assert own.flag("squash_output", default=False) is True
    assert own.number("clip_mean", 2.0) == 0.5
    assert own.number("n_quantiles", 200) == 200
    assert own.hidden() == [4, 3]
    assert settings(policy_kwargs={"net_arch": {"pi": [], "vf": [3]}}).hidden() == []
    assert settings(policy_kwargs={"net_arch": "[8, 8]"}).hidden() is None
    assert settings().hidden() is None
    for name, value in (("squash_output", 3), ("clip_mean", "NaN"), ("clip_mean", "x"), ("clip_mean", [1])):
        bad = settings(policy_kwargs={name: value})
        with pytest.raises(InputError, match=rf"policy_kwargs.{name} is .*, expected"):
            bad.flag(name, default=False) if name == "squash_output" else bad.number(name, 2.0)


OWN = """
from torch import nn
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

class Bare(ActorCriticPolicy):  # nothing of its own in its dictionary
    pass

class Scaled(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, features_dim=space.shape[0])

    def forward(self, x):
        return x * 0.1

class ReLU(nn.Module):
    def forward(self, x):
        return -x
"""


@pytest.mark.parametrize("by", ["name", "value"])
@pytest.mark.filterwarnings("ignore:You are trying to run")
def test_user_classes_saved_by_stable_baselines3_are_refused(tmp_path, monkeypatch, by):
    sb3 = pytest.importorskip("stable_baselines3", reason="the sb3 extra isn't installed")
    (tmp_path / "owns.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = pytest.importorskip("owns")
    if by == "value":  # as classes of a script or a notebook are saved
        monkeypatch.setitem(sys.modules, "owns", None)
        for cls in (own.Bare, own.Scaled, own.ReLU):
            cls.__module__ = "__main__"
    gym = pytest.importorskip("gymnasium")
    try:
        for policy, kwargs, fault in (
            (
                own.Bare,
                {},
                r"its policy (owns.Bare|__main__ \(saved with its code\)) isn't supported: a user-defined class",
            ),
            (
                "MlpPolicy",
                {"features_extractor_class": own.Scaled},
                r"its feature extractor <class '\w+.Scaled'> isn't supported",
            ),
            ("MlpPolicy", {"activation_fn": own.ReLU}, r"activation <class '\w+.ReLU'> isn't supported"),
        ):
            sb3.PPO(policy, gym.make("Pendulum-v1"), device="cpu", policy_kwargs=kwargs).save(tmp_path / "m.zip")
            with pytest.raises(InputError, match=fault):
                read_architecture(read_archive(tmp_path / "m.zip"))
    finally:
        sys.modules.pop("owns", None)


@pytest.mark.parametrize("algo", ["CrossQ", "RecurrentPPO", "MaskablePPO"])
@pytest.mark.filterwarnings("ignore:You are trying to run")
@pytest.mark.filterwarnings("ignore:.*replay buffer.*")
def test_other_networks_of_sb3_contrib_are_refused(tmp_path, algo):
    contrib = pytest.importorskip("sb3_contrib", reason="sb3_contrib isn't installed")
    policy = "MlpLstmPolicy" if algo == "RecurrentPPO" else "MlpPolicy"
    env = "CartPole-v1" if algo == "MaskablePPO" else "Pendulum-v1"
    kwargs = {"buffer_size": 10} if algo == "CrossQ" else {}
    getattr(contrib, algo)(policy, env, device="cpu", **kwargs).save(tmp_path / "m.zip")
    with pytest.raises(InputError, match=r"isn't supported: (CrossQ|a recurrent network|one that needs action masks)"):
        read_architecture(read_archive(tmp_path / "m.zip"))
