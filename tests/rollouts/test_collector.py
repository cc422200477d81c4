import numpy as np
import pytest
from testbed import CountingExpert, team_of

from distil.envs import ImportEnvConfig, describe
from distil.errors import RunError
from distil.plans import CollectPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rollouts import Collector, Fleet, NoiseConfig, RolloutConfig
from distil.seeding import Purpose, episode_seeds
from distil.store.schema import StoreSpec
from distil.store.store import Store


def fleet(**kwargs):
    env = ImportEnvConfig(target="testbed:Toy", kwargs=kwargs)
    return Fleet(env=env, spec=describe(env), config=RolloutConfig(num_workers=0, num_envs=4), team=team_of(CountingExpert()))


def store_for(fleet, folder, infos=()):
    return Store.open_or_create(folder, StoreSpec(observation=fleet.spec.observation, action=fleet.spec.action, infos=infos))


def test_a_plan_becomes_one_commit(tmp_path):
    some = fleet(lengths=[3, 5])
    store = store_for(some, tmp_path)
    report = Collector(some, store, seed=2).collect(CollectPlan(num_episodes=10, round=3))
    snapshot = store.snapshot()
    assert store.versions() == [1]
    assert (report.snapshot, report.num_episodes) == (1, 10)
    assert report.env_steps == report.expert_labels == snapshot.num_transitions
    assert snapshot.episodes.seed.tolist() == episode_seeds(Purpose.COLLECT, 10, root=2, names=(3,))
    assert set(snapshot.episodes.source) == {"expert:counting"}
    assert set(snapshot.episodes.round) == {3}
    assert report.metrics["collect/return_mean"] == pytest.approx(snapshot.episodes.total_reward.mean())


def test_what_the_store_has_is_not_collected_again(tmp_path):
    """CORRECTNESS 14: nothing twice; more episodes are the same ones and new ones."""
    some = fleet()
    store = store_for(some, tmp_path)
    collector = Collector(some, store, seed=2)
    assert collector.collect(CollectPlan(num_episodes=6)).num_episodes == 6
    report = collector.collect(CollectPlan(num_episodes=6))
    assert (report.num_episodes, report.snapshot, store.versions()) == (0, 1, [1])
    assert collector.collect(CollectPlan(num_episodes=9)).num_episodes == 3
    other = store_for(some, tmp_path / "other")
    Collector(some, other, seed=2).collect(CollectPlan(num_episodes=9))
    assert store.snapshot().digest == other.snapshot().digest


def test_streams_differ_in_what_makes_them(tmp_path):
    some = fleet()
    store = store_for(some, tmp_path)
    plan = CollectPlan(num_episodes=1)
    makers = [
        Collector(some, store, seed=0),
        Collector(some, store, seed=1),
        Collector(some, store, seed=0, noise=NoiseConfig(kind="epsilon")),
        Collector(some, store, seed=0, noise=NoiseConfig(kind="epsilon", level=0.2)),
        Collector(some, store, seed=0, identity={"kind": "sb3"}),
        Collector(fleet(lengths=[6]), store, seed=0),
    ]
    uids = [maker.items(plan)[0].uid for maker in makers]
    uids.append(makers[0].items(CollectPlan(num_episodes=1, actor="random"))[0].uid)
    uids.append(makers[0].items(CollectPlan(num_episodes=1, round=1))[0].uid)
    assert len(set(uids)) == len(uids)
    assert Collector(some, store, seed=0, noise=NoiseConfig(level=9.0)).items(plan)[0].uid == uids[0]  # no noise is no noise


def test_who_acted_is_recorded(tmp_path):
    some = fleet()
    store = store_for(some, tmp_path)
    report = Collector(some, store, seed=0).collect(CollectPlan(num_episodes=4, actor="random"))
    assert report.expert_labels == 0
    episodes = store.snapshot().episodes
    assert set(episodes.source) == {"random"}
    assert episodes.num_acted_by_expert.sum() == 0


def test_named_infos_reach_the_store(tmp_path):
    some = fleet(success=True, lengths=[2])
    store = store_for(some, tmp_path, infos=("count",))
    Collector(some, store, seed=0).collect(CollectPlan(num_episodes=1))
    assert store.snapshot().episode(0).infos[:2] == ('{"count": 1}', '{"count": 2}')


@pytest.mark.parametrize("interrupt", [False, True])
def test_an_error_or_interrupt_commits_what_is_complete(tmp_path, interrupt):
    """CORRECTNESS 4; and the next call collects exactly the rest."""
    bad = episode_seeds(Purpose.COLLECT, 20, root=2, names=(0,))[9]
    some = fleet() if interrupt else fleet(fault="raise", bad_seed=bad, bad_step=3)
    store = store_for(some, tmp_path)

    def progress(what, done, total, /, **figures):
        if interrupt and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt if interrupt else RunError):
        Collector(some, store, seed=2, progress=progress).collect(CollectPlan(num_episodes=20))
    kept = store.snapshot().num_episodes
    assert 6 <= kept < 20
    assert bad not in store.snapshot().episodes.seed or interrupt
    mended = fleet()
    mended._workers()
    mended.env = some.env  # the same stream of episodes, of workers without the fault
    report = Collector(mended, store, seed=2).collect(CollectPlan(num_episodes=20))
    assert report.num_episodes == 20 - kept
    assert store.snapshot().num_episodes == 20


def policy(fleet, seed=0, version=3):
    made = Policy(PolicyConfig(encoder=MlpConfig(hidden=(4,))), fleet.spec.observation, fleet.spec.action, seed=seed)
    made.fit_normaliser({"obs": np.arange(6.0).reshape(2, 3), "action": np.array([1, 2])})
    return made.ref(version)


@pytest.mark.parametrize("unit", ["episode", "step"])
def test_beta_is_drawn_in_its_unit(tmp_path, unit):
    """CORRECTNESS 12 and 13: within the binomial bound; labels everywhere, whoever acted."""
    some, num, beta = fleet(lengths=[4]), 300, 0.3
    store = store_for(some, tmp_path)
    plan = CollectPlan(num_episodes=num, round=1, actor="policy", beta=beta, beta_unit=unit, label=True)
    report = Collector(some, store, seed=0).collect(plan, policy(some))
    episodes = store.snapshot().episodes
    assert store.versions() == [1]
    assert report.expert_labels == report.env_steps == 4 * num
    counts = episodes.num_acted_by_expert
    draws = num if unit == "episode" else 4 * num
    assert abs(counts.sum() / (4 * num) - beta) < 4 * np.sqrt(beta * (1 - beta) / draws)
    assert (set(counts) <= {0, 4}) == (unit == "episode")
    versions = set(episodes.policy_version[counts == 4]) if unit == "episode" else set(episodes.policy_version)
    assert versions == ({-1} if unit == "episode" else {3})
    for i in range(20):
        episode = store.snapshot().episode(i)
        np.testing.assert_array_equal(episode.expert_actions, 1 + np.arange(4) % 3)
        theirs = episode.acted_by_expert == 1
        np.testing.assert_array_equal(episode.actions[theirs], episode.expert_actions[theirs])


def test_episodes_are_named_after_the_policy_that_made_them(tmp_path):
    """CORRECTNESS 14: other weights, other episodes; the same weights, none again, whatever version they call themselves."""
    some = fleet()
    store = store_for(some, tmp_path)
    collector = Collector(some, store, seed=2)
    plan = CollectPlan(num_episodes=3, round=1, actor="policy", label=True)
    assert collector.collect(plan, policy(some)).num_episodes == 3
    assert collector.collect(plan, policy(some, version=4)).num_episodes == 0
    assert collector.collect(plan, policy(some, seed=1)).num_episodes == 3
    assert collector.collect(CollectPlan(num_episodes=3, round=1, actor="policy"), policy(some)).num_episodes == 3
    assert set(store.snapshot().episodes.source) == {"policy", "policy+expert:counting"}


def test_too_few_labels_end_the_plan_after_the_commit(tmp_path):
    some = fleet(lengths=[4])
    some.team = team_of(CountingExpert(fault="mask", bad_step=2))
    store = store_for(some, tmp_path)
    plan = CollectPlan(num_episodes=3, round=1, actor="policy", label=True, max_unlabelled=0.2)
    with pytest.raises(RunError, match="expert counting: left 3 of 12 steps of round 1 without a usable label"):
        Collector(some, store, seed=2).collect(plan, policy(some))
    assert store.snapshot().num_episodes == 3
