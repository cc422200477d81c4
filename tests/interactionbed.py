"""Transitions, policies and runs of learning by interaction, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from distil.algorithms.base import Budget
from distil.algorithms.interaction import ByInteractionConfig
from distil.config import validate
from distil.learners.base import LearnerSetup
from distil.learners.data import Streams, TrainingData, demos
from distil.learners.rank import Rank
from distil.objectives.ranks import Ranks
from distil.plans import Round, RoundReport, Spent, UpdatePlan
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.runconfig import RunConfig
from distil.spaces import action_spec, observation_spec
from distil.store import Snapshot, Store, StoreSpec
from distil.store.windows import TransitionBatch
from distil.types import Episode

OBSERVATION = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ALGORITHMS = ("sqil", "iq", "dac", "ml_irl", "csil", "pwil", "gail", "airl", "rl")
DISCRETE, BOX = {"id": "CartPole-v1", "max_episode_steps": 40}, {"id": "Pendulum-v1", "max_episode_steps": 20}
SMALL = {"hidden": [8]}
CHOOSES = {"tuning_episodes": 2, "tune_every": 1}
STEPS = {  # algorithm -> environment, and what makes it small
    "sqil": (DISCRETE, CHOOSES),
    "iq": (DISCRETE, {"step": {"kind": "soft_q", "loss": "ls_iq"}}),
    "dac": (BOX, {"step": {"kind": "sac", **SMALL}, "reward": {"kind": "discriminator", "dropout": 0.2, **SMALL}}),
    "ml_irl": (
        BOX,
        {"step": {"kind": "sac", "num_critics": 3, **SMALL}, "reward": {"kind": "maxent", "spectral_norm": True, **SMALL}},
    ),
    "csil": (BOX, {"step": {"kind": "sac", "actor_from": 3, **SMALL}, "random_steps": 0, "pretraining_steps": 20, **CHOOSES}),
    "pwil": (BOX, {"step": {"kind": "sac", **SMALL}}),
    "gail": (DISCRETE, {"step": {"kind": "ppo", "epochs": 2, **SMALL}, "reward": {"kind": "discriminator", **SMALL}}),
    "airl": (BOX, {"step": {"kind": "ppo", "epochs": 2, "entropy": 0.01, **SMALL}, "reward": {"kind": "airl", **SMALL}}),
    "rl": (DISCRETE, {"step": {"kind": "ppo", "epochs": 2, **SMALL}, **CHOOSES}),
}


def config(folder: Path, kind: str, /, **keys: Any) -> RunConfig:
    """A run of a few rounds of `kind`, in a second."""
    env, own = STEPS[kind]
    base = {
        "name": kind,
        "env": env,
        "expert": {"kind": "scripted"},
        "data": {"path": str(folder / f"demos-{env['id']}"), "episodes": 2},
        "rollouts": {"num_workers": 0, "num_envs": 4},
        "policy": {"encoder": {"kind": "mlp", "hidden": [8]}},
        "algorithm": {
            "kind": kind,
            "steps": 180,
            "steps_per_round": 60,
            "random_steps": 60,
            "updates_per_step": 0.5,
            "tuning_episodes": 0,
            **own,
        },
        "learner": {"batch_size": 16, "checkpoint_every": 7},
        "evaluation": {"episodes": 2, "baselines": False},
        "tracking": {"enabled": False},
        "runs": str(folder / "runs"),
    }
    for name, value in keys.items():
        group = base.get(name)
        base[name] = {**group, **value} if isinstance(group, dict) and isinstance(value, dict) else value
    return validate(RunConfig, base)


def policy_for(action: spaces.Space[Any], seed: int = 0) -> Policy:
    """A small policy with a density, on three observations, which is fitted."""
    settings = {"encoder": {"kind": "mlp", "hidden": [8]}, "head": {"kind": "auto", "density": True}}
    policy = Policy(validate(PolicyConfig, settings), observation_spec(OBSERVATION), action_spec(action), seed=seed)
    policy.fit_normaliser({"obs": np.random.default_rng(0).normal(size=(50, 3)).astype("f4")})
    return policy


def transitions_batch(
    executed: Any, *, labels: Any = None, rewards: Any = None, terminated: Any = None, truncated: Any = None, seed: int = 0
) -> TransitionBatch:
    """A batch of single steps with random observations; flags are false unless given."""
    num, generator = len(executed), torch.Generator().manual_seed(seed)
    is_choice = isinstance(executed[0][0], int) and len(executed[0]) == 1
    actions = torch.tensor(executed, dtype=torch.int64 if is_choice else torch.float32)
    actions = actions if is_choice else actions[:, None]
    false = torch.zeros(num, dtype=torch.bool)
    seen, ahead = (torch.randn(num, 1, 3, generator=generator) for _ in range(2))
    return TransitionBatch(
        observations={"obs": seen},
        actions=torch.zeros_like(actions) if labels is None else torch.tensor(labels)[:, None],
        is_pad=torch.zeros(num, 1, dtype=torch.bool),
        executed=actions,
        rewards=None if rewards is None else torch.tensor(rewards)[:, None],
        num_steps=torch.ones(num, dtype=torch.int64),
        next_observations={"obs": ahead},
        terminated=false if terminated is None else torch.tensor(terminated),
        truncated=false if truncated is None else torch.tensor(truncated),
    )


def learning_round(config: ByInteractionConfig) -> Round:
    """The second round with learning, after 1,000 steps of the learner in ten episodes."""
    algorithm = config.build(Budget(num_demonstrations=5, num_steps=100, num_evaluation_episodes=3, batch_size=128))
    spent = Spent(agent_steps=1000, agent_episodes=10, gradient_steps=1000)
    found = algorithm.next_round(RoundReport(index=1, snapshot=None, policy_version=1, spent=spent))
    assert found is not None
    return found


def spec_of(kind: str) -> StoreSpec:
    """Three observations, and the kind of actions that the algorithm learns."""
    action = spaces.Box(-1, 1, (2,), np.float32) if STEPS[kind][0] is BOX else spaces.Discrete(3, start=1)
    return StoreSpec(observation=observation_spec(OBSERVATION), action=action_spec(action))


def setup_of(folder: Path, kind: str, name: str = "checkpoints") -> LearnerSetup:
    """A small learner of an algorithm, with its checkpoints in `name`."""
    settings = config(folder, kind)
    return LearnerSetup(
        config=settings.learner,
        policy=settings.policy,
        spec=spec_of(kind),
        folder=folder / name,
        seed=0,
        resume=False,
        objective=settings.algorithm.objective,
    )


def streams_of(folder: Path, kind: str, rewards: float | None = None) -> Streams:
    """Both streams: two labelled demonstrations, and unlabelled episodes of a policy, which end in either way."""
    agent = _snapshot(folder / "agent", kind, [20, 12, 31, 17], rewards, labelled=False)
    if kind == "rl":
        return {"agent": TrainingData(parts=(agent,))}
    return {"agent": TrainingData(parts=(agent,)), **demos(_snapshot(folder / "demos", kind, [25, 11], rewards, labelled=True))}


def _snapshot(path: Path, kind: str, lengths: list[int], rewards: float | None, *, labelled: bool) -> Snapshot:
    if Store.exists(path):
        return Store.open(path).snapshot()
    spec = spec_of(kind)
    store = Store.create(path, spec)
    writer = store.writer("w")
    for number, length in enumerate(lengths):
        rng = np.random.default_rng([number, labelled])
        is_box = spec.action.leaf.kind == "box"
        actions = rng.uniform(-1, 1, (length, 2)).astype("f4") if is_box else rng.integers(1, 4, length)
        marks = np.full(length, labelled, np.uint8)
        episode = Episode(
            observations={"obs": (rng.normal(size=(length + 1, 3)) + labelled).astype("f4")},
            actions=actions,
            rewards=rng.normal(size=length) if rewards is None else np.full(length, rewards),
            terminated=number % 2 == 0,
            truncated=number % 2 == 1,
            expert_actions=actions if labelled else np.zeros_like(actions),
            labelled=marks,
            acted_by_expert=marks,
            policy_version=-1 if labelled else 1,
            uid=f"{'demo' if labelled else 'own'}-{number:04d}",
        )
        writer.add(episode)
    entry = writer.seal()
    assert entry is not None
    return store.commit([entry])


def update_of(kind: str, num_steps: int, index: int) -> UpdatePlan:
    """An update on the streams that the algorithm's plans have; the first one of a clone has demonstrations alone."""
    settings = config(Path("unused"), kind)
    first = RoundReport(index=0, snapshot=None, policy_version=0)
    is_pretraining = kind == "csil" and index == 1
    todo = settings.algorithm.build(settings.budget()).next_round(None if is_pretraining else first)
    assert todo is not None
    assert todo.update is not None
    return UpdatePlan(num_steps=num_steps, round=index, streams=todo.update.streams)


def one_of_two(folder: Path, num_steps: int, number: int, *kinds: str) -> None:
    """Be rank `number` of two in two updates by each of the algorithms; write the policies' weights."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=number, world_size=2)
    for kind in kinds:
        own = folder / kind
        if number == 0:
            streams_of(own, kind)
        torch.distributed.barrier()
        rank = Rank(setup_of(own, kind, "group"), ranks=Ranks(rank=number, world_size=2))
        for index in (1, 2):
            plan, streams = update_of(kind, num_steps, index), streams_of(own, kind)
            rank.update(plan, {name: streams[name] for name in plan.streams})
            torch.distributed.barrier()  # as a group's next plan, which comes when the first rank has reported
        np.savez(own / f"weights{number}.npz", **rank.policy.arrays)
        rank.close()
    torch.distributed.destroy_process_group()


class Right:
    """An expert that pushes to the right in all states: CartPole falls after nine steps."""

    def act(self, observations: Any) -> Any:
        """Return ones."""
        return np.ones(len(observations), np.int64)
