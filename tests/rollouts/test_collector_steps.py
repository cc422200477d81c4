"""Plans that ask for a number of steps: see `CollectPlan.min_steps`."""

import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.plans import CollectPlan
from distil.rollouts import Collector, Fleet, RolloutConfig
from distil.seeding import Purpose, episode_seeds
from distil.store.schema import StoreSpec
from distil.store.store import Store


def fleet(**kwargs):
    env = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
    return Fleet(env=env, spec=describe(env), config=RolloutConfig(num_workers=0, num_envs=4), team=team_of(CountingExpert()))


def store_for(fleet, folder):
    return Store.open_or_create(folder, StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action))


SEEDED = [7, 3, 12, 5, 9]  # lengths of episodes, by their seed


def shortest(seed, num_steps):
    """The lengths of the first episodes, as many as it takes."""
    lengths = (SEEDED[s % len(SEEDED)] for s in episode_seeds(Purpose.COLLECT, num_steps, root=seed, names=(0,)))
    out = []
    while sum(out) < num_steps:
        out.append(next(lengths))
    return out


def in_order(store):
    """The uids and lengths of a store's episodes."""
    index = store.snapshot().episodes
    return sorted(zip(index.uid.tolist(), index.length.tolist(), strict=True))


@pytest.mark.parametrize("num_steps", [20, 40, 250])
@pytest.mark.parametrize("num_episodes", [1, 2])
def test_a_number_of_steps_is_reached_by_the_first_episodes(tmp_path, num_steps, num_episodes):
    """Complete ones, and the shortest prefix of the seeded episodes, whatever number of them is tried first."""
    some = fleet(lengths=SEEDED)
    store = store_for(some, tmp_path)
    report = Collector(some, store, seed=1).collect(CollectPlan(num_episodes=num_episodes, min_steps=num_steps))
    expected = shortest(1, num_steps)
    assert [length for _, length in in_order(store)] == expected
    assert (report.num_planned, report.num_episodes, report.env_steps) == (len(expected), len(expected), sum(expected))


def test_lengths_that_have_grown_are_noticed_early(tmp_path):
    """A first guess by shorter episodes does not lead to many superfluous ones."""
    some = fleet(lengths=[100])
    report = Collector(some, store_for(some, tmp_path), seed=1).collect(CollectPlan(num_episodes=2, min_steps=1000))
    assert (report.num_planned, report.env_steps) == (10, 1000)


@pytest.mark.parametrize("wave", [1, 2, 3])
def test_resumed_between_two_waves_the_episodes_are_the_same(tmp_path, wave):
    """CORRECTNESS 14."""
    plan, found = CollectPlan(num_episodes=2, min_steps=100), []
    for name, num_calls in (("calm", 99), ("killed", wave)):
        some = fleet(lengths=SEEDED)
        store = store_for(some, tmp_path / name)
        run, left = some.run, iter(range(num_calls))

        def dying(*args, run=run, left=left, **kwargs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return run(*args, **kwargs)

        some.run = dying
        if name == "killed":
            with pytest.raises(KeyboardInterrupt):
                Collector(some, store, seed=1).collect(plan)
            assert 0 < store.snapshot().num_transitions < 100
            some.run = run
        report = Collector(some, store, seed=1).collect(plan)
        found.append((report.num_planned, in_order(store)))
    assert found[0] == found[1]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray")
def test_a_number_of_steps_gives_the_same_episodes_with_two_workers(tmp_path, ray_session):
    """CORRECTNESS 5."""
    found = []
    for num_workers in (0, 2):
        env = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": SEEDED})
        settings = RolloutConfig(num_workers=num_workers, num_envs=2)
        some = Fleet(env=env, spec=describe(env), config=settings, team=team_of(CountingExpert()))
        store = store_for(some, tmp_path / str(num_workers))
        report = Collector(some, store, seed=4).collect(CollectPlan(num_episodes=2, min_steps=150))
        some.close()
        found.append((report.num_planned, in_order(store)))
    assert found[0] == found[1]
