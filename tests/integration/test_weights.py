"""DAgger whose learner counts the expert's interventions more: what reaches the objective, over a whole run."""

import numpy as np
import pytest

import distil
from distil.objectives.supervised import Supervised
from distil.store import Store

SMALL = {
    "data.path": "store",
    "env.max_episode_steps": 60,
    "expert.kind": "import",
    "expert.target": "testbed:Balancer",
    "expert.kwargs.num_envs": 4,
    "algorithm.rounds": 3,
    "algorithm.episodes_per_round": 3,
    "algorithm.beta.kind": "constant",
    "algorithm.beta.value": 0.5,
    "algorithm.check_episodes": 0,
    "algorithm.min_expert_return": None,
    "algorithm.tuning_episodes": 0,
    "evaluation.episodes": 0,
    "learner.num_steps": 30,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
}


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """Of each round's update: observation -> its weight in the batches."""
    seen, step, begin = [], Supervised.step, Supervised.begin

    def spy_begin(self, num_steps):
        seen.append({})
        begin(self, num_steps)

    def spy(self, batches):
        batch = batches["demos"]
        keys = (row.tobytes() for row in batch.observations["obs"][:, 0].numpy())
        seen[-1] |= zip(keys, batch.weights.tolist(), strict=True)
        return step(self, batches)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Supervised, "begin", spy_begin)
    monkeypatch.setattr(Supervised, "step", spy)
    return seen


@pytest.mark.parametrize("unit", ["step", "episode"])
def test_interventions_weigh_more(rounds, unit):
    """CORRECTNESS 29: by step, the expert's steps among the policy's; by episode, there are none: it flies alone."""
    weights = {"algorithm.weights.intervention": 8.0, "algorithm.weights.round_decay": 0.5}
    distil.train("cartpole-dagger", SMALL | {"algorithm.beta_unit": unit} | weights)
    data = Store.open("store").snapshot()
    assert len(rounds) == 3
    for newest, found in enumerate(rounds):
        factors = set()
        for index in np.flatnonzero(data.episodes.round <= newest):
            episode = data.episode(index)
            for obs, acted in zip(episode.observations["obs"][:-1].astype(np.float32), episode.acted_by_expert, strict=True):
                factor = 8.0 if unit == "step" and acted and episode.round else 1.0
                factors.add(factor)
                assert found[obs.tobytes()] == 0.5 ** (newest - episode.round) * factor
        assert factors == ({1.0, 8.0} if unit == "step" and newest else {1.0})
