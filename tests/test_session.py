import pytest

from distil.config import validate
from distil.errors import InputError, RunError
from distil.plans import CheckPlan
from distil.runconfig import RunConfig
from distil.seeding import Purpose
from distil.session import Session

BASE = {"env": {"id": "CartPole-v1", "max_episode_steps": 60}, "rollouts": {"num_workers": 0, "num_envs": 4}}
EXPERT = {"kind": "import", "target": "testbed:Balancer", "kwargs": {"num_envs": 4}}


def session(**changes):
    return Session(validate(RunConfig, BASE | {"expert": EXPERT} | changes))


def test_an_expert_is_measured_beside_chance():
    """CORRECTNESS 15."""
    with session() as shared:
        figures = shared.check_expert(CheckPlan(num_episodes=3, min_return=60.0))
        assert figures["expert/return_mean"] == 60.0
        assert figures["expert/random_return_mean"] == shared.score("random", 3, Purpose.TUNE).mean < 60
        with pytest.raises(RunError, match=r"testbed:Balancer: .* is 60; .* wanted is at least 60\.5: mend the expert"):
            shared.check_expert(CheckPlan(num_episodes=3, min_return=60.5))


def test_an_expert_no_better_than_chance_is_refused():
    """CORRECTNESS 15."""
    with session(expert={"kind": "random"}) as shared, pytest.raises(RunError, match="a random policy's is"):
        shared.check_expert(CheckPlan(num_episodes=3))


def test_tuning_episodes_are_not_the_held_out_ones():
    with session() as shared:
        tune, held_out = (shared.score("random", 4, purpose) for purpose in (Purpose.TUNE, Purpose.EVALUATE))
        assert not set(tune.seeds) & set(held_out.seeds)
        assert shared.score("random", 4) is held_out  # measured once


def test_what_the_algorithm_cannot_do_is_refused_at_once():
    with pytest.raises(InputError, match=r"set expert\.kind"):
        session(expert=None, algorithm={"kind": "dagger"})
