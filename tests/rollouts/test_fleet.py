import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.rollouts import AgentSpec, Fleet, Outcome, RolloutConfig
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.work import Assignment


def fleet(num_workers=0, num_envs=4, **kwargs):
    env = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
    config = RolloutConfig(num_workers=num_workers, num_envs=num_envs)
    return Fleet(env=env, spec=describe(env), config=config, team=team_of(CountingExpert()))


def items(num):
    return [EpisodeItem(index=i, uid=f"u{i}", seed=i) for i in range(num)]


ASSIGNMENT = Assignment(agent=AgentSpec(who="expert"))


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("num", [1, 2, 7, 16, 50, 333, 5000])
def test_groups_hold_every_item_once(num_workers, num):
    groups = fleet(num_workers)._groups(items(num))
    assert [item.index for group in groups for item in group] == list(range(num))
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 8 * 4
    if num >= 8 * 4 * max(1, num_workers):
        assert min(sizes) >= 4


def test_progress_counts_each_episode_once():
    seen = []
    outcome = fleet().run(ASSIGNMENT, items(9), progress=lambda *args, **figures: seen.append((*args, figures)), what="work")
    assert [entry[1] for entry in seen] == list(range(10))
    assert seen[-1] == ("work", 9, 9, {"env_steps": 45, "return_mean": 5.0})
    assert sorted(outcome.stats) == list(range(9))


def test_no_items_start_no_worker():
    idle = fleet(num_workers=2)
    assert idle.run(ASSIGNMENT, []).stats == {}
    assert idle._pool is None
    idle.close()


def test_an_error_leaves_the_outcome_so_far():
    """CORRECTNESS 4."""
    broken = fleet(fault="raise", bad_seed=9, bad_step=2)
    outcome = Outcome()
    with pytest.raises(RunError, match="seed 9 step 2"):
        broken.run(ASSIGNMENT, items(12), outcome=outcome)
    assert set(range(8)) <= set(outcome.stats)
    assert 9 not in outcome.stats


def test_a_closed_fleet_starts_new_workers():
    some = fleet()
    some.run(ASSIGNMENT, items(2))
    some.close()
    assert len(some.run(ASSIGNMENT, items(3)).stats) == 3
