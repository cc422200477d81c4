"""Checkpoints that RLlib itself writes, without an Algorithm and without a Ray session."""

import warnings
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest

VECTOR = gym.spaces.Box(-3, 3, (3,), np.float32)
BOX = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 7], np.float32))
PIPELINES = ("env_to_module_connector", "module_to_env_connector")


class Made:
    """A module of random weights with its connectors.

    Args:
        algo: PPO, IMPALA, APPO or SAC.
        observation: the environment's observation space.
        action: its action space.
        model: keys of RLlib's DefaultModelConfig.
        before: the connectors of observations, besides RLlib's own.
        settings: keys of the algorithm's `env_runners`.
    """

    def __init__(self, algo="PPO", observation=VECTOR, action=BOX, model=None, before=(), **settings):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ray.tune.registry import get_trainable_cls

            config = get_trainable_cls(algo).get_default_config()
            config.environment(observation_space=observation, action_space=action, **settings)
            config.env_runners(env_to_module_connector=(lambda env, spaces, device: list(before)) if before else None)
            spaces = {"__env_single__": (observation, action)}
            self.before = config.build_env_to_module_connector(spaces=spaces)
            self.after = config.build_module_to_env_connector(spaces=spaces)
            spec = config.get_default_rl_module_spec()
            spec.observation_space, spec.action_space = self.before.observation_space, action
            spec.model_config, spec.inference_only = {**config.model_config, "twin_q": True, **(model or {})}, False
            self.module = spec.build()
            if hasattr(self.module, "make_target_networks"):
                self.module.make_target_networks()
        self.observation = observation

    def save(self, folder, msgpack=True):
        """Write the algorithm's checkpoint, without what is not of the policy, and return its folder."""
        self.module.save_to_path(str(folder / "learner_group/learner/rl_module/default_policy"), use_msgpack=msgpack)
        for name, pipeline in zip(PIPELINES, (self.before, self.after), strict=True):
            pipeline.save_to_path(str(folder / "env_runner" / name), state=pipeline.get_state(), use_msgpack=msgpack)
        return folder

    def run(self, observations, update=False):
        """Return outputs and actions of RLlib for each observation, through its connectors, as it evaluates policies."""
        from ray.rllib.env.single_agent_episode import SingleAgentEpisode

        for connector in self.before.connectors:
            if hasattr(connector, "_update_stats"):
                connector._update_stats = update
        outs, actions = [], []
        for value in observations:
            episodes = [SingleAgentEpisode(observations=[value], observation_space=self.observation)]
            kwargs = {"rl_module": self.module, "episodes": episodes, "explore": False, "shared_data": {}}
            batch = self.before(batch={}, **kwargs)
            out = self.module.forward_inference(batch)
            outs.append(out["action_dist_inputs"].detach().numpy()[0])
            done = self.after(batch=out, **kwargs)
            actions.append(done.get("actions_for_env", done["actions"])[0])
        return np.stack(outs), np.stack(actions)


@pytest.fixture
def rllib():
    """Helpers to make checkpoints."""
    pytest.importorskip("ray.rllib")
    return SimpleNamespace(Made=Made, VECTOR=VECTOR, BOX=BOX)
