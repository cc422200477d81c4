"""Outputs and actions compared with RLlib's own, through its connectors."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.experts.rllib.config import RllibExpertConfig
from distil.spaces import action_spec, observation_spec

DISCRETE = spaces.Discrete(4)
TREE = spaces.Dict(b=spaces.Box(-1, 1, (2, 2), np.float32), a=spaces.Discrete(3), c=spaces.Box(-1, 1, (1,), np.float32))
FREE = spaces.Box(-np.inf, np.inf, (2,), np.float32)

CASES = {
    "ppo box": ("PPO", None, None, {}),
    "ppo discrete": ("PPO", None, DISCRETE, {"model": {"fcnet_hiddens": [16], "fcnet_activation": "relu"}}),
    "ppo multi_discrete": ("PPO", None, spaces.MultiDiscrete([3, 2, 4]), {}),
    "ppo shared": ("PPO", None, None, {"model": {"vf_share_layers": True, "head_fcnet_hiddens": [8, 4]}}),
    "ppo free deviation": ("PPO", None, None, {"model": {"free_log_std": True, "fcnet_activation": "swish"}}),
    "ppo layer norm": (
        "PPO",
        None,
        None,
        {"model": {"fcnet_use_layernorm": True, "head_fcnet_use_layernorm": True, "head_fcnet_hiddens": [8]}},
    ),
    "ppo linear": ("PPO", None, None, {"model": {"fcnet_activation": "linear", "head_fcnet_activation": None}}),
    "ppo not rescaled": ("PPO", None, None, {"normalize_actions": False, "clip_actions": True}),
    "ppo without bounds": ("PPO", None, FREE, {}),
    "ppo filter": ("PPO", None, None, {"before": ["MeanStdFilter"]}),
    "ppo flattened": ("PPO", TREE, DISCRETE, {"before": ["FlattenObservations"]}),
    "ppo one-hot": ("PPO", spaces.Discrete(5), DISCRETE, {"before": ["FlattenObservations"]}),
    "impala": ("IMPALA", None, None, {}),
    "appo": ("APPO", None, DISCRETE, {}),
    "sac": ("SAC", None, None, {"model": {"fcnet_hiddens": [16, 8]}}),
    "sac head": ("SAC", None, None, {"model": {"head_fcnet_hiddens": [8], "head_fcnet_activation": "elu"}}),
    "sac discrete": ("SAC", None, DISCRETE, {"model": {"fcnet_hiddens": [16, 8]}}),
}


def build(folder, observation, action, **config):
    spec = EnvSpec(
        name="x",
        observation=observation_spec(observation),
        action=action_spec(action),
        max_episode_steps=None,
        reward_threshold=None,
    )
    return RllibExpertConfig(path=str(folder), **config).build(GymEnvConfig(id="x"), spec)


def made(rllib, case):
    from ray.rllib.connectors import env_to_module

    algo, observation, action, settings = CASES[case]
    before = [getattr(env_to_module, name)() for name in settings.get("before", ())]
    observation, action = observation or rllib.VECTOR, action or rllib.BOX
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    found = rllib.Made(algo, observation, action, **{**settings, "before": before})
    for parameter in found.module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return found, observation, action


@pytest.mark.parametrize("case", list(CASES))
def test_equals_rllib(rllib, tmp_path, case):
    theirs, observation, action = made(rllib, case)
    observation.seed(1)
    values = [observation.sample() for _ in range(16)]
    theirs.run(values, update=True)  # a filter learns its statistics
    expert = build(theirs.save(tmp_path), observation, action)
    outputs, actions = theirs.run(values)
    leaves = [observation_spec(observation).flatten(value) for value in values]
    batch = {name: np.stack([leaf[name] for leaf in leaves]) for name in leaves[0]}
    found = expert.act(batch).actions
    inner = expert._expert.outputs(batch)
    np.testing.assert_allclose(inner, outputs[:, : inner.shape[1]], atol=1e-5)
    if case in ("sac", "sac head"):  # RLlib leaves the squashing of its deterministic actions out: ray-project/ray#51544
        actions = action.low + (np.tanh(outputs[:, :2]) + 1) * (action.high - action.low) / 2
    if isinstance(action, spaces.Box):
        np.testing.assert_allclose(found, np.clip(actions, action.low, action.high), atol=1e-5)
    else:
        np.testing.assert_array_equal(found, actions)
    assert np.ptp(found, axis=0).any()
    one = {name: rows[3:4] for name, rows in batch.items()}
    np.testing.assert_allclose(expert.act(one).actions, found[3:4], atol=1e-6)


def test_it_controls_the_environment_of_its_recipe(rllib, tmp_path):
    """An actual environment, with its own spaces."""
    env = gym.make("Pendulum-v1")
    theirs = rllib.Made("SAC", env.observation_space, env.action_space, model={"fcnet_hiddens": [8, 8]})
    expert = build(theirs.save(tmp_path), env.observation_space, env.action_space)
    observation, _ = env.reset(seed=0)
    action = expert.act({"obs": observation[None]}).actions
    assert env.action_space.contains(action[0])
