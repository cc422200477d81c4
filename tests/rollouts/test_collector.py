import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from testbed import Balancer, CountingExpert, PeekingExpert, team_of

from distil.envs import GymEnvConfig, ImportEnvConfig, describe
from distil.errors import RunError, SupersededError
from distil.experts.gates import regressor
from distil.experts.gates.config import (
    EnsembleGateConfig,
    HumanGateConfig,
    ImportIntervenerConfig,
    LazyGateConfig,
    SafeGateConfig,
    ThriftyGateConfig,
)
from distil.experts.imported import ImportExpertConfig
from distil.experts.team import Team
from distil.learners.loop import to_torch
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.supervised import Supervised
from distil.plans import CollectPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.rollouts import Collector, Fleet, NoiseConfig, RolloutConfig, evaluate
from distil.seeding import Purpose, episode_seeds
from distil.store import Sampler
from distil.store.footer import Footer
from distil.store.schema import StoreSpec
from distil.store.store import Store
from distil.types import Labels


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
    reports = [collector.collect(CollectPlan(num_episodes=6)) for _ in range(2)]
    assert [(report.num_episodes, report.snapshot) for report in reports] == [(6, 1), (0, 1)]
    assert reports[0].metrics["collect/return_mean"] == reports[1].metrics["collect/return_mean"]
    assert collector.collect(CollectPlan(num_episodes=9)).num_episodes == 3
    other = store_for(some, tmp_path / "other")
    Collector(some, other, seed=2).collect(CollectPlan(num_episodes=9))
    assert store.snapshot().digest == other.snapshot().digest


def test_other_content_is_another_stream_of_episodes(tmp_path):
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
    uids.append(makers[0].items(CollectPlan(num_episodes=1, agent="random"))[0].uid)
    uids.append(makers[0].items(CollectPlan(num_episodes=1, round=1))[0].uid)
    world, policy = describe(some.env), PolicyConfig(encoder=MlpConfig(hidden=(4,)))
    made = Policy(policy, world.observation, world.action).ref(1)
    uids += [makers[0].items(CollectPlan(num_episodes=1, agent="policy", act=act), made)[0].uid for act in ("point", "sample")]
    assert len(set(uids)) == len(uids)
    assert Collector(some, store, seed=0, noise=NoiseConfig(level=9.0)).items(plan)[0].uid == uids[0]  # no noise is no noise


def test_who_acted_is_recorded(tmp_path):
    some = fleet()
    store = store_for(some, tmp_path)
    report = Collector(some, store, seed=0).collect(CollectPlan(num_episodes=4, agent="random"))
    assert report.expert_labels == 0
    episodes = store.snapshot().episodes
    assert set(episodes.source) == {"random"}
    assert episodes.num_acted_by_expert.sum() == 0


def test_named_infos_reach_the_store(tmp_path):
    some = fleet(success=True, lengths=[2])
    store = store_for(some, tmp_path, infos=("count",))
    Collector(some, store, seed=0).collect(CollectPlan(num_episodes=1))
    assert store.snapshot().episode(0).infos[:2] == ('{"count": 1}', '{"count": 2}')


def test_an_error_commits_what_is_complete(tmp_path):
    """CORRECTNESS 4; and the next call collects exactly the rest."""
    bad = episode_seeds(Purpose.COLLECT, 20, root=2, names=(0,))[9]
    broken = fleet(fault="raise", bad_seed=bad, bad_step=3)
    store = store_for(broken, tmp_path)
    with pytest.raises(RunError):
        Collector(broken, store, seed=2).collect(CollectPlan(num_episodes=20))
    kept = store.snapshot().episodes.seed.tolist()
    assert 6 <= len(kept) < 20
    assert bad not in kept
    fixed = fleet()
    fixed._workers()
    fixed.env = broken.env  # the same stream of episodes, of workers without the fault
    collects_the_rest(fixed, store, len(kept))


def test_an_interrupt_commits_what_is_complete(tmp_path):
    some = fleet(lengths=[40])  # so that the last ones end blocks of steps later than the seventh
    store = store_for(some, tmp_path)

    def progress(what, done, total, /, **figures):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Collector(some, store, seed=2, progress=progress).collect(CollectPlan(num_episodes=20))
    kept = store.snapshot().num_episodes
    assert 6 <= kept < 20
    collects_the_rest(some, store, kept)


def test_an_interrupt_while_committing_commits_all_of_it_once(tmp_path, monkeypatch):
    some, original, calls = fleet(), Store.commit, []
    store = store_for(some, tmp_path)

    def interrupted(self, entries, message=""):
        calls.append(entries)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, entries, message)

    monkeypatch.setattr(Store, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Collector(some, store, seed=2).collect(CollectPlan(num_episodes=20))
    assert (store.snapshot().num_episodes, store.versions()) == (20, [1])


def collects_the_rest(some, store, kept):
    report = Collector(some, store, seed=2).collect(CollectPlan(num_episodes=20))
    assert report.num_episodes == 20 - kept
    assert store.snapshot().num_episodes == 20


def policy(fleet, seed=0, version=3):
    made = Policy(PolicyConfig(encoder=MlpConfig(hidden=(4,))), fleet.spec.observation, fleet.spec.action, seed=seed)
    made.fit_normaliser({"obs": np.arange(6.0).reshape(2, 3), "action": np.array([1, 2])})
    return made.ref(version)


@pytest.mark.parametrize("unit", ["episode", "step"])
def test_beta_is_drawn_in_its_unit(tmp_path, unit):
    """CORRECTNESS 12 and 13: within the binomial bound; labels everywhere, no matter who acted."""
    some, num, beta = fleet(lengths=[4]), 300, 0.3
    store = store_for(some, tmp_path)
    plan = CollectPlan(num_episodes=num, round=1, agent="policy", beta=beta, beta_unit=unit, label=True)
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
    plan = CollectPlan(num_episodes=3, round=1, agent="policy", label=True)
    assert collector.collect(plan, policy(some)).num_episodes == 3
    assert collector.collect(plan, policy(some, version=4)).num_episodes == 0
    assert collector.collect(plan, policy(some, seed=1)).num_episodes == 3
    assert collector.collect(CollectPlan(num_episodes=3, round=1, agent="policy"), policy(some)).num_episodes == 3
    assert set(store.snapshot().episodes.source) == {"policy", "policy+expert:counting"}


def test_what_is_collected_for_a_run_that_was_taken_over_is_not_committed(tmp_path):
    def check():
        raise SupersededError("taken over")

    some = fleet()
    store = store_for(some, tmp_path)
    with pytest.raises(SupersededError):
        Collector(some, store, seed=2, check=check).collect(CollectPlan(num_episodes=3))
    assert store.snapshot().num_episodes == 0


def test_too_few_labels_end_the_plan_after_the_commit(tmp_path):
    some = fleet(lengths=[4])
    some.team = team_of(CountingExpert(fault="mask", bad_step=2))
    store = store_for(some, tmp_path)
    plan = CollectPlan(num_episodes=3, round=1, agent="policy", label=True, max_unlabelled=0.2)
    with pytest.raises(RunError, match="expert counting: left 3 of 12 steps of round 1 without a usable label"):
        Collector(some, store, seed=2).collect(plan, policy(some))
    assert store.snapshot().num_episodes == 3


CARTPOLE = GymEnvConfig(id="CartPole-v1", max_episode_steps=60)
GATES = {
    "safe": SafeGateConfig(threshold=0.3),
    "lazy": LazyGateConfig(threshold=0.3),
    "ensemble": EnsembleGateConfig(doubt=0.0, discrepancy=0.5),
    "thrifty": ThriftyGateConfig(budget=0.5),
    "human": HumanGateConfig(intervener=ImportIntervenerConfig(target="gatebed:Rescuer")),
}


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A half-trained policy for CartPole, and what gates are fitted to: demonstrations, its own episodes with labels."""
    spec = describe(CARTPOLE)
    made = Policy(PolicyConfig(encoder=MlpConfig(hidden=(8,)), ensemble=3), spec.observation, spec.action, seed=1)
    some = Fleet(env=CARTPOLE, spec=spec, config=RolloutConfig(num_workers=0, num_envs=4), team=balancers())
    collector = Collector(some, store_for(some, tmp_path_factory.mktemp("data")), seed=0)
    collector.collect(CollectPlan(num_episodes=2))
    sampler, objective = Sampler(collector._store.snapshot()), Supervised(made, OptimiserConfig())
    made.fit(sampler.statistics(made.needs))
    objective.begin(40)
    for batch in sampler.batches(batch_size=64, seed=0, num_batches=40):
        objective.step({"demos": to_torch(batch, torch.device("cpu"))})
    collector.collect(CollectPlan(num_episodes=6, round=1, agent="policy", label=True), made.ref(1))
    return made.ref(2), collector._store.snapshot()


def balancers():
    return Team.of(ImportExpertConfig(target="testbed:StepByStep"), CARTPOLE, describe(CARTPOLE))


@pytest.mark.parametrize("kind", GATES)
def test_a_gated_episode_depends_on_its_seed_only(tmp_path, gated, kind, monkeypatch):
    """CORRECTNESS 5: whatever its slot, the number of slots, and who plays beside it. 12: labels are the expert's."""
    monkeypatch.setattr(regressor, "_NUM_STEPS", 200)
    policy, data = gated
    digests, plan = set(), CollectPlan(num_episodes=7, round=2, agent="policy", gate=GATES[kind], label=True)
    for num_envs in (1, 3, 12):
        config = RolloutConfig(num_workers=0, num_envs=num_envs)
        some = Fleet(env=CARTPOLE, spec=describe(CARTPOLE), config=config, team=balancers())
        store = store_for(some, tmp_path / str(num_envs))
        report = Collector(some, store, seed=4).collect(plan, policy, data)
        digests.add(store.snapshot().digest)
    assert len(digests) == 1
    episodes, expert = store.snapshot().episodes, Balancer()
    assert report.expert_labels == episodes.num_labelled.sum()
    assert 0 < episodes.num_acted_by_expert.sum() < episodes.length.sum()
    assert (episodes.num_labelled < episodes.length).any() == (kind != "ensemble")
    assert set(episodes.source) == {"policy+human" if kind == "human" else "policy+expert:testbed:StepByStep"}
    for index in range(7):
        episode = store.snapshot().episode(index)
        asked, theirs = episode.labelled == 1, episode.acted_by_expert == 1
        assert asked[theirs].all()
        right = expert.act(episode.observations["obs"][:-1])
        np.testing.assert_array_equal(episode.expert_actions, np.where(asked, right, 0))
        np.testing.assert_array_equal(episode.actions[theirs], episode.expert_actions[theirs])


def test_other_gates_are_other_episodes(tmp_path, gated):
    policy, _ = gated
    some = fleet()
    collector = Collector(some, store_for(some, tmp_path), seed=0)
    plans = [CollectPlan(num_episodes=1, agent="policy", gate=gate, label=True) for gate in (None, *GATES.values())]
    plans.append(CollectPlan(num_episodes=1, agent="policy", gate=SafeGateConfig(threshold=0.31), label=True))
    assert len({collector.stream(plan, policy) for plan in plans}) == len(plans)


def test_steps_that_a_gate_leaves_unlabelled_are_no_error(tmp_path, gated):
    """But one that asks at every step is held to what it gets."""
    policy, data = gated
    some = Fleet(env=CARTPOLE, spec=describe(CARTPOLE), config=RolloutConfig(num_workers=0, num_envs=4), team=team_of(Silent()))
    collector = Collector(some, store_for(some, tmp_path), seed=0)
    for number, gate in enumerate((SafeGateConfig(threshold=0.0), EnsembleGateConfig(doubt=0.0), GATES["human"])):
        plan = CollectPlan(num_episodes=1, round=number, agent="policy", gate=gate, label=True, max_unlabelled=0.0)
        assert collector.collect(plan, policy, data).num_episodes == 1
    plan = CollectPlan(num_episodes=1, round=9, agent="policy", gate=GATES["ensemble"], label=True, max_unlabelled=0.0)
    with pytest.raises(RunError, match=r"expert silent: left .* of round 9 without a usable label"):
        collector.collect(plan, policy, data)


class Silent(CountingExpert):
    name, stateful = "silent", False

    def act(self, observations, *, envs=None):
        labels = super().act(observations)
        return Labels(actions=labels.actions % 2, mask=np.zeros_like(labels.mask))


def named(name, kind=CountingExpert):
    expert = kind()
    expert.name = name
    return expert


@pytest.mark.parametrize("who", ["expert", "policy"])
def test_several_experts_take_turns_and_another_one_begins_each_round(tmp_path, who):
    some = fleet(lengths=[3])
    some.team = team_of(named("a"), named("b"), named("c", PeekingExpert))  # one remembers, one looks inside
    store = store_for(some, tmp_path)
    collector = Collector(some, store, seed=2)
    for number in range(3):
        plan = CollectPlan(num_episodes=4, round=number, agent=who, label=True)
        collector.collect(plan, policy(some) if who == "policy" else None)
    episodes, prefix = store.snapshot().episodes, "policy+expert:" if who == "policy" else "expert:"
    by_round = [["".join(source.removeprefix(prefix) for source in episodes.source[episodes.round == n])] for n in range(3)]
    assert by_round == [["abca"], ["bcab"], ["cabc"]]  # in the order of their uids
    assert episodes.num_labelled.sum() == episodes.length.sum()
    for index in range(12):
        np.testing.assert_array_equal(store.snapshot().episode(index).expert_actions, [1, 2, 3])


def test_rounds_of_one_episode_use_all_experts_in_turn(tmp_path):
    some = fleet(lengths=[3])
    some.team = team_of(named("a"), named("b"))
    store = store_for(some, tmp_path)
    for number in range(4):
        Collector(some, store, seed=2).collect(CollectPlan(num_episodes=1, round=number))
    assert sorted(store.snapshot().episodes.source) == ["expert:a"] * 2 + ["expert:b"] * 2


def test_experts_are_drawn_by_weight_for_each_episode(tmp_path):
    """Within the binomial bound, and the same with any number of workers (CORRECTNESS 5)."""
    sources, num = [], 300
    for num_envs in (4, 7):
        env = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [1]})
        config = RolloutConfig(num_workers=0, num_envs=num_envs)
        team = Team(members={"a": named("a"), "b": named("b")}, weights={"a": 3.0, "b": 1.0})
        some = Fleet(env=env, spec=describe(env), config=config, team=team)
        store = store_for(some, tmp_path / str(num_envs))
        Collector(some, store, seed=2).collect(CollectPlan(num_episodes=num))
        sources.append(store.snapshot().episodes.source.tolist())
    assert sources[0] == sources[1]
    assert abs(sources[0].count("expert:a") / num - 0.75) < 4 * np.sqrt(0.75 * 0.25 / num)


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("who", ["expert", "policy"])
def test_an_expert_that_reads_the_simulator_sees_live_ones_only(tmp_path, who, stateful):
    """CORRECTNESS 39: acting, labelling inline, in a mixture, and in the check; fewer episodes than environments too."""
    env = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [1, 4, 7]})
    spec = describe(env)
    expert = ImportExpertConfig(target="testbed:Alive", kwargs={"stateful": stateful}).build(env, spec)
    some = Fleet(env=env, spec=spec, config=RolloutConfig(num_workers=0, num_envs=8), team=team_of(expert))
    made = policy(some) if who == "policy" else None
    for num, beta in ((3, 0.0), (11, 0.5)):
        store = store_for(some, tmp_path / str(num))
        plan = CollectPlan(num_episodes=num, agent=who, beta=beta, beta_unit="step", label=True)
        report = Collector(some, store, seed=1).collect(plan, made)
        assert report.num_episodes == num
        assert report.expert_labels == report.env_steps
    assert evaluate(some, "expert", [0, 1, 2]).lengths.tolist() == [1, 4, 7]


def test_reports_bring_footers_and_wrong_ones_or_missing_files_are_found_out(tmp_path, monkeypatch):
    some, real = fleet(), Footer.read
    store = store_for(some, tmp_path)
    monkeypatch.setattr("distil.store.shards.read_index", lambda root, entry: pytest.fail("the driver opens a shard"))
    assert Collector(some, store, seed=2).collect(CollectPlan(num_episodes=6)).num_episodes == 6

    def wrong(root, entry):
        return replace(real(root, entry), check="0" * 32)

    def removed(root, entry):
        footer = real(root, entry)
        (root / entry.path).unlink()
        return footer

    for read, text in ((wrong, "another shard's footer, or an altered one"), (removed, "the shard is missing")):
        monkeypatch.setattr(Footer, "read", read)
        with pytest.raises(RunError, match=text):
            Collector(some, store, seed=3).collect(CollectPlan(num_episodes=6))
    assert store.versions() == [1]
