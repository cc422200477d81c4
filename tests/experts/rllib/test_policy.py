"""Policies compared with the experts that act from the same checkpoints, which are compared with RLlib."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.rllib.architecture import read_architecture
from distil.experts.rllib.checkpoint import read_checkpoint
from distil.experts.rllib.connectors import find_connectors, read_connectors
from distil.experts.rllib.expert import RllibExpert
from distil.experts.rllib.policy import policy_of
from distil.policies.acting import acting
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.restore import policy_of as torch_policy
from distil.spaces import action_spec, observation_spec

CHOICES, FACTORS = spaces.Discrete(4), spaces.MultiDiscrete([3, 2, 4])
ONE_HOT = spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(-1, 1, (2,), np.float32))
FREE = spaces.Box(-np.inf, np.inf, (2,), np.float32)

CASES = {
    "ppo box": ("PPO", None, None, {"model": {"fcnet_hiddens": [16, 8]}}),
    "ppo free deviation": ("PPO", None, None, {"model": {"free_log_std": True, "fcnet_activation": "relu"}}),
    "ppo clipped": ("PPO", None, None, {"normalize_actions": False, "clip_actions": True}),
    "ppo choices": ("PPO", None, CHOICES, {"model": {"head_fcnet_hiddens": [8], "head_fcnet_activation": "tanh"}}),
    "ppo factors": ("PPO", None, FACTORS, {}),
    "ppo filter": ("PPO", None, CHOICES, {"before": ["MeanStdFilter"]}),
    "ppo one-hot": ("PPO", ONE_HOT, CHOICES, {"before": ["FlattenObservations"]}),
    "sac": ("SAC", None, None, {"model": {"fcnet_hiddens": [16, 8], "fcnet_activation": "silu"}}),
}


def read(rllib, folder: Path, algo, observation, action, settings):
    from ray.rllib.connectors import env_to_module

    before = [getattr(env_to_module, name)() for name in settings.get("before", ())]
    observation, action = observation or rllib.VECTOR, action or rllib.BOX
    made = rllib.Made(algo, observation, action, **{**settings, "before": before})
    for parameter in made.module.parameters():
        parameter.data *= 1.5
    observation.seed(0)
    values = [observation.sample() for _ in range(16)]
    made.run(values, update=True)
    found = read_checkpoint(made.save(folder))
    connectors = read_connectors(find_connectors(found.path))
    rows = [observation_spec(observation).flatten(value) for value in values]
    batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return read_architecture(found), connectors, (observation_spec(observation), action_spec(action)), batch


@pytest.mark.parametrize("case", list(CASES))
def test_acts_as_the_expert_of_the_same_checkpoint(rllib, tmp_path, case):
    architecture, connectors, wanted, batch = read(rllib, tmp_path / "c", *CASES[case])
    leaf, statistics = wanted[1].leaf, connectors.statistics
    rescales = connectors.rescales and leaf.kind == "box"
    expert = RllibExpert("x", architecture, wanted[0].leaves, leaf, statistics=statistics, rescales=rescales)
    expected = expert.act(batch).actions
    if leaf.kind == "box":
        expected = np.clip(expected, *leaf.bounds())
    save_policy(policy_of(architecture, connectors, wanted), tmp_path / "policy")
    ref = load_policy_ref(tmp_path / "policy")
    np.testing.assert_allclose(acting(ref, 16).act(batch), expected, atol=1e-5)
    assert torch_policy(ref).spec == ref.spec


def test_a_squashed_gaussian_keeps_its_distribution(rllib, tmp_path):
    torch = pytest.importorskip("torch")
    architecture, connectors, wanted, batch = read(rllib, tmp_path, *CASES["sac"])
    policy = torch_policy(policy_of(architecture, connectors, wanted))
    outputs = RllibExpert("x", architecture, wanted[0].leaves, wanted[1].leaf, statistics=None, rescales=True).outputs(batch)
    mean, log_std = outputs[:, :2], np.clip(outputs[:, 2:], -5, 2)
    context = policy.encoder({name: torch.from_numpy(rows)[:, None] for name, rows in batch.items()})
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
    drawn = policy.head.sample_from(context, noise).detach().numpy()[:, 0]
    np.testing.assert_allclose(drawn, np.tanh(mean + np.exp(log_std) * noise.numpy()), atol=1e-5)


@pytest.mark.parametrize(
    ("algo", "observation", "action", "settings", "fault"),
    [
        ("PPO", None, None, {"model": {"fcnet_use_layernorm": True}}, "layer normalisation"),
        ("PPO", None, None, {"model": {"fcnet_activation": "elu"}}, "its activations are ELU; a distil policy has one of"),
        ("PPO", None, None, {"model": {"head_fcnet_hiddens": [8]}}, "its activations are ReLU, Tanh"),
        ("PPO", None, None, {"model": {"fcnet_activation": "linear"}}, "its activations are linear"),
        ("PPO", None, FREE, {}, "its actions have no bounds"),
        (
            "PPO",
            spaces.Dict([("b", spaces.Discrete(2)), ("a", spaces.Discrete(2))]),
            None,
            {"before": ["FlattenObservations"]},
            "in another way than a distil policy",
        ),
    ],
)
def test_what_a_distil_policy_lacks_is_named(rllib, tmp_path, algo, observation, action, settings, fault):
    architecture, connectors, wanted, _ = read(rllib, tmp_path, algo, observation, action, settings)
    with pytest.raises(InputError, match=fault):
        policy_of(architecture, connectors, wanted)
