"""Shared by the tests of gates: policies, stores of known steps, an intervener. Ray actors import this module too."""

import gymnasium as gym
import numpy as np

from distil.config import validate
from distil.experts.gates.base import Situation
from distil.experts.gates.evidence import Evidence
from distil.policies.acting import replay
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import action_spec, observation_spec
from distil.store import Sampler, Store, StoreSpec
from distil.types import Episode, Labels

VECTOR = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
BOX = gym.spaces.Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
CHOICE = gym.spaces.Discrete(3, start=1)
RUN = {
    "env.max_episode_steps": 60,
    "data.path": "store",
    "algorithm.rounds": 3,
    "algorithm.episodes_per_round": 3,
    "algorithm.check_episodes": 0,
    "algorithm.min_expert_return": None,
    "algorithm.tuning_episodes": 0,
    "evaluation.episodes": 2,
    "learner.num_steps": 40,
    "learner.checkpoint_every": 16,
    "rollouts.num_workers": 0,
    "rollouts.num_envs": 4,
    "tracking.enabled": False,
}  # a small run of the recipe cartpole-dagger, without its expert


def leaf(space):
    return action_spec(space).leaf


def policy(observation=VECTOR, action=BOX, seed=0, version=1, **config):
    """A policy of random weights for these spaces."""
    tiny = {"encoder": {"hidden": [8]}} | config
    made = Policy(validate(PolicyConfig, tiny), observation_spec(observation), action_spec(action), seed=seed)
    rng = np.random.default_rng(seed)
    columns = {
        leaf.name: rng.normal(size=(50, *leaf.shape)).astype(leaf.dtype) for leaf in observation_spec(observation).leaves
    }
    action.seed(seed)
    made.fit_normaliser(columns | {"action": np.stack([np.asarray(action.sample()) for _ in range(50)])})
    return made.ref(version)


def episode(number, length, *, by_policy=True, labelled=None, action=BOX, labels=None, end="terminated", success=None):
    """An episode of random observations whose first number is 100 times `number` plus the step."""
    rng = np.random.default_rng(number)
    observations = rng.normal(size=(length + 1, 3)).astype(np.float32)
    observations[:, 0] = 100 * number + np.arange(length + 1)
    marks = np.ones(length, np.uint8) if labelled is None else np.asarray(labelled, np.uint8)
    nothing = np.zeros((length, *action.shape), action.dtype)
    return Episode(
        observations={"obs": observations},
        actions=nothing,
        rewards=np.ones(length),
        terminated=end == "terminated",
        truncated=end == "truncated",
        expert_actions=nothing if labels is None else labels,
        labelled=marks,
        acted_by_expert=np.zeros(length, np.uint8),
        policy_version=1 if by_policy else -1,
        uid=f"e{number:03d}",
        success=success,
    )


def snapshot(folder, *episodes, action=BOX):
    store = Store.create(folder, StoreSpec(observation=observation_spec(VECTOR), action=action_spec(action)))
    writer = store.writer("w")
    for one in episodes:
        writer.add(one)
    store.commit([writer.seal()])
    return store.snapshot()


class Asked:
    """A situation's `ask`: gives these labels where it is asked, and keeps where that was."""

    def __init__(self, actions, mask=None):
        self.actions, self.mask, self.rows = np.asarray(actions), mask, []

    def __call__(self, rows):
        self.rows.append(rows.copy())
        return Labels(actions=self.actions, mask=rows if self.mask is None else rows & np.asarray(self.mask))


def situation(signal, actions, labels, doubt=None, mask=None):
    """What a gate decides by, in slots whose observation starts with `signal`; and what it asks."""
    ask = Asked(labels, mask)
    observations = {"obs": np.array([[value, 0, 0] for value in signal], np.float32)}
    doubt = None if doubt is None else np.array(doubt, np.float32)
    return Situation(observations=observations, actions=np.asarray(actions), doubt=doubt, ask=ask), ask


class FirstNumber:
    """Stands for `acting(predictor)`: predicts the first number of the observation."""

    def __init__(self, ref, num_envs):
        self.begun = []

    def begin(self, slot, seed):
        self.begun.append((slot, seed))

    def act(self, observations):
        return observations["obs"][:, :1]


class Rescuer:
    """Takes over CartPole where the pole leans, and pushes as its balancer does. Its first steps in a slot pass untouched.

    Args:
        num_envs: slots.
        angle: in rad, from where on it acts.
        patience: steps of an episode that it only watches.
        answer: "" | "shape" | "mask" | "nothing" | "nan" | "choice" | "raise": what is wrong with its answers.
    """

    def __init__(self, num_envs, angle=0.02, patience=2, answer=""):
        self.angle, self.patience, self.answer = angle, patience, answer
        self.steps = np.zeros(num_envs, np.int64)

    def begin(self, slot, seed):
        self.steps[slot] = 0

    def intervene(self, observations, actions):
        seen = observations["obs"]
        assert actions.shape == (len(self.steps),)
        mask = (np.abs(seen[:, 2]) > self.angle) & (self.steps >= self.patience)
        self.steps += 1
        pushes = (seen @ np.array([0.1, 0.3, 4.0, 1.0]) > 0).astype(np.int64)
        if self.answer == "raise":
            raise ValueError("my hands\nare tied")
        if self.answer == "nothing":
            return None
        pushes = {"shape": pushes[:, None], "choice": pushes + 2, "nan": pushes * np.nan}.get(self.answer, pushes)
        return Labels(actions=pushes, mask=mask[1:] if self.answer == "mask" else mask)


def nested_expert(observations):
    """For `testbed:Nested`: choices that depend on the image and on a number."""
    dark = observations["image"].reshape(len(observations["image"]), -1).mean(1) < 127
    return np.stack([dark, observations["state"][1] % 3], axis=1).astype(np.int64)


def plan_of(config, ref, data, seed):
    """The gate that a configuration gives for rollouts of the policy `ref`."""
    return config.plan(Evidence(policy=ref, data=data, seed=seed))


def windows_of(data, horizon=1):
    (batch,) = Sampler(data, obs_horizon=horizon, every=True).scan(10**6)
    return dict(batch.observations)


def off_by(distance, data, ref):
    """Labels at this distance, in half ranges, from the policy's actions."""
    actions, _ = replay(ref, windows_of(data))
    centre = np.array([0, 5], np.float32)
    towards = np.where(actions > centre, -1, 1)
    return (actions + towards * np.reshape(distance, (-1, 1)) * np.array([2, 5])).astype(np.float32)


def partly_labelled(folder, ref):
    """A store in which some steps have labels; the first feature of those that do, and how far their labels are from `ref`."""
    distances, marks = np.arange(10) / 16, [1, 0, 1, 1, 0, 1]
    labels = off_by(distances, snapshot(folder / "blank", episode(0, 6), episode(1, 4)), ref)
    data = snapshot(
        folder / "s",
        episode(0, 6, labels=labels[:6] * np.array(marks)[:, None].astype(np.float32), labelled=marks, by_policy=False),
        episode(1, 4, labels=labels[6:]),
        episode(2, 3, labelled=[0, 0, 0]),
    )
    return data, [0, 2, 3, 5, 100, 101, 102, 103], distances[[0, 2, 3, 5, 6, 7, 8, 9]]


def outcomes(folder, ends, lengths=None, successes=None, by_policy=True):
    """Episodes with these ends."""
    lengths, successes = lengths or [40] * len(ends), successes or [None] * len(ends)
    return snapshot(
        folder,
        *(
            episode(number, length, end=end, success=success, by_policy=by_policy)
            for number, (end, length, success) in enumerate(zip(ends, lengths, successes, strict=True))
        ),
    )
