from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from distil.fence import Attempt, unfenced
from distil.learners.config import LearnerConfig
from distil.learners.factory import make_learner
from distil.objectives.config import ImportObjectiveConfig
from distil.policies.config import MlpConfig, PolicyConfig
from distil.seeding import integer
from distil.spaces import action_spec, observation_spec
from distil.store.schema import StoreSpec
from distil.store.store import Store
from distil.types import Episode, silent, unheard

SPEC = StoreSpec(
    observation=observation_spec(spaces.Box(-np.inf, np.inf, (3,), np.float64)),
    action=action_spec(spaces.Box(-1, 1, (2,), np.float32)),
)
POLICY = PolicyConfig(encoder=MlpConfig(hidden=(16, 16)))


def episode(number: int, length: int = 20, labelled: bool = True, round: int = 0) -> Episode:
    """Of round 0 by the expert alone; of later ones by a policy, the expert acting in each third step."""
    rng = np.random.default_rng(number)
    obs = rng.normal(size=(length + 1, 3))
    actions = np.tanh(obs[:-1, :2] * 0.5).astype(np.float32)
    return Episode(
        observations={"obs": obs},
        actions=actions,
        rewards=np.ones(length),
        terminated=True,
        truncated=False,
        expert_actions=actions,
        labelled=np.full(length, labelled, np.uint8),
        acted_by_expert=(np.arange(length) % 3 == 0 if round else np.ones(length)).astype(np.uint8),
        policy_version=round if round else -1,
        round=round,
        seed=number,
        uid=f"test-0000-{number:08d}",
    )


def make_snapshot(folder: Path, num_episodes: int = 10, first: int = 0, **kwargs):
    store = Store.open_or_create(folder, SPEC)
    writer = store.writer(f"w{first}")
    for number in range(first, first + num_episodes):
        writer.add(episode(number, **kwargs))
    return store.commit([writer.seal()])


OPEN = StoreSpec(
    observation=observation_spec(spaces.Box(-np.inf, np.inf, (3,), np.float64)),
    action=action_spec(spaces.Box(-np.inf, np.inf, (2,), np.float32)),
)


def make_scaled(folder: Path, numbers: Sequence[int], *, obs: float = 1.0, actions: float = 1.0, length: int = 20):
    """Return the episodes of `episode`, in a space without bounds and in other units."""
    store = Store.open_or_create(folder, OPEN)
    writer = store.writer(f"w{numbers[0]}")
    for number in numbers:
        made = episode(number, length)
        scaled = (made.actions * np.array([actions, 1.0])).astype(np.float32)
        observations = {"obs": made.observations["obs"] * obs}
        writer.add(replace(made, observations=observations, actions=scaled, expert_actions=scaled))
    return store.commit([writer.seal()])


@pytest.fixture
def bed(tmp_path):
    """A store with 10 episodes of 20 transitions, and a maker of learners that put their checkpoints into `name`."""

    def learner(name: str = "checkpoints", *, resume: bool = False, policy: PolicyConfig = POLICY, seed: int = 0, **settings):
        settings = {"batch_size": 16, "checkpoint_every": 10, "warmup_steps": 5} | settings
        facts = {"seed": seed, "resume": resume, "progress": settings.pop("progress", silent)}
        facts["note"], facts["check"] = settings.pop("note", unheard), settings.pop("check", unfenced)
        if "objective" in settings:
            facts["objective"] = ImportObjectiveConfig(target=settings.pop("objective"))
        return make_learner(LearnerConfig(**settings), policy, SPEC, tmp_path / name, **facts)

    attempt = Attempt(tmp_path, 1)
    attempt.beat.parent.mkdir()
    attempt.beat.touch()
    return SimpleNamespace(
        attempt=attempt,
        snapshot=make_snapshot(tmp_path / "store"),
        learner=learner,
        folder=tmp_path,
        more=lambda **kwargs: make_snapshot(tmp_path / "store", **kwargs),
        make=make_snapshot,
        open_spec=OPEN,
        scaled=lambda name, numbers, **units: make_scaled(tmp_path / name, numbers, **units),
        split_seed=integer(0, "validation split"),
        empty=lambda **kwargs: make_snapshot(tmp_path / "unlabelled", labelled=False, **kwargs),
    )
