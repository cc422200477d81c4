"""DAgger with a gate: whole small runs; who acted, who was asked, what weighs more, what is refused."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from gatebed import RUN
from testbed import Balancer

import distil
from distil.errors import InputError, RunError
from distil.experts.gates import regressor
from distil.experts.gates.evidence import predicted
from distil.objectives.supervised import Supervised
from distil.policies.acting import replay
from distil.rollouts import collector
from distil.rollouts.collector import Collector
from distil.rollouts.gating import gate_of
from distil.rundir import RunDir
from distil.store import Store

EXPERT = {"expert.kind": "import", "expert.target": "testbed:Balancer", "expert.kwargs.num_envs": 4}
SMALL = RUN | EXPERT
RESCUER = {"kind": "import", "target": "gatebed:Rescuer"}
GATES = {
    "safe": {"algorithm.gate": {"kind": "safe", "threshold": 0.2}},
    "lazy": {"algorithm.gate": {"kind": "lazy", "threshold": 0.2, "leave": 0.5}},
    "ensemble": {"algorithm.gate": {"kind": "ensemble"}, "policy.ensemble": 3},
    "veto": {"algorithm.gate": {"kind": "ensemble", "discrepancy": 0.5}, "policy.ensemble": 3},
    "thrifty": {"algorithm.gate": {"kind": "thrifty", "budget": 0.4}, "policy.ensemble": 3},
    "human": {"algorithm.gate": {"kind": "human", "intervener": RESCUER}},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(regressor, "_NUM_STEPS", 60)


@pytest.fixture
def gates(monkeypatch):
    """Of each round: the gate, and whose rollouts it is for."""
    made = {}

    def spy(plan, policy, data, seed, experts):
        gate = gate_of(plan, policy, data, seed, experts)
        if plan.gate is not None:
            made[plan.round] = gate, policy
        return gate

    monkeypatch.setattr(collector, "gate_of", spy)
    return made


def run(**changes):
    return distil.train("cartpole-dagger", SMALL | changes)


def snapshot(folder="."):
    return Store.open(Path(folder) / "store").snapshot()


def over(signals, policy, observations):
    """Where any signal is above its threshold: [T]."""
    out = np.zeros(len(observations), np.bool_)
    for signal in signals:
        seen = {"obs": observations}
        values = replay(policy, seen)[1] if signal.predictor is None else predicted(signal.predictor, seen)
        out |= values > signal.threshold
    return out


def wanted(plan, policy, observations, labels):
    """Who acts and who is labelled in an episode through these states, step by step: the slow way."""
    apart = replay(policy, {"obs": observations})[0] != labels  # of two choices: 0 or 1
    enter, stay = over(plan.enter, policy, observations), over(plan.stay, policy, observations)
    if plan.veto is not None:
        enter |= apart > plan.veto
    acts, asked, held = [], [], False
    for t in range(len(observations)):
        asked.append(plan.ask_all or held or enter[t])
        acts.append(apart[t] > plan.leave or stay[t] if held else enter[t])
        held = acts[-1] and plan.leave is not None
    return acts, asked


@pytest.mark.parametrize("kind", GATES)
def test_the_expert_acts_where_the_gate_says_and_labels_where_it_was_asked(gates, kind):
    """CORRECTNESS 12, 13 and 16: what is stored, what was executed and what is counted, for each gate."""
    done, data, expert = run(**GATES[kind]), snapshot(), Balancer()
    assert list(gates) == [1, 2]
    assert done.metrics["budget/expert_labels"] == data.episodes.num_labelled.sum()
    assert done.metrics["budget/env_steps"] == data.num_transitions
    acted = labelled = steps = 0
    for index in np.flatnonzero(data.episodes.round > 0):
        episode = data.episode(index)
        seen = episode.observations["obs"][:-1]
        plan, policy = gates[episode.round]
        right, theirs, asked = expert.act(seen), episode.acted_by_expert == 1, episode.labelled == 1
        np.testing.assert_array_equal(episode.expert_actions, np.where(asked, right, 0))
        own, _ = replay(policy, {"obs": seen})
        np.testing.assert_array_equal(episode.actions, np.where(theirs, right, own))
        if kind == "human":
            acts = (np.abs(seen[:, 2]) > 0.02) & (np.arange(len(seen)) >= 2)
            answered = acts
        else:
            acts, answered = wanted(plan, policy, seen, right)
        assert theirs.tolist() == list(acts)
        assert asked.tolist() == list(answered)
        assert episode.policy_version == episode.round
        assert episode.source == ("policy+human" if kind == "human" else "policy+expert:testbed:Balancer")
        acted, labelled, steps = acted + theirs.sum(), labelled + asked.sum(), steps + len(seen)
    assert 0 < acted < steps
    assert (labelled == steps) == (kind == "veto")
    assert (labelled > acted) == (kind in ("lazy", "thrifty", "veto"))


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours handles it."""


def die(monkeypatch, owner, name, at, after):
    """Let the process die before or after the `at`-th call of a function."""
    calls, original = itertools.count(1), getattr(owner, name)

    def dying(*args, **kwargs):
        here = next(calls) == at
        if here and not after:
            raise Killed
        out = original(*args, **kwargs)
        if here:
            raise Killed
        return out

    monkeypatch.setattr(owner, name, dying)


RESUMED = {
    "thrifty": GATES["thrifty"] | {"evaluation.episodes": 0},
    "lazy": {
        "algorithm.gate": {"kind": "lazy", "threshold": 0.05, "leave": 0.5},
        "algorithm.overlap": 2,
        "algorithm.rounds": 4,
        "evaluation.episodes": 0,
    },
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Of each kind: the run and its store."""
    out = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regressor, "_NUM_STEPS", 60)
        for kind, changes in RESUMED.items():
            folder = tmp_path_factory.mktemp(kind)
            patch.chdir(folder)
            run(**changes)
            out[kind] = distil.open_run(folder / "runs/cartpole-dagger-001"), snapshot(folder)
    return out


POINTS = [
    ("thrifty", collector, "gate_of", 2, True),
    ("thrifty", Supervised, "step", 70, True),  # of the second round's gate: the first update has 40 of them, a fit 60
    ("thrifty", Supervised, "step", 120, True),
    ("thrifty", Store, "commit", 2, True),
    ("thrifty", Collector, "collect", 3, True),
    ("lazy", collector, "gate_of", 3, False),
    ("lazy", collector, "gate_of", 4, False),  # resumed when more was collected than its gate may see
    ("lazy", Supervised, "step", 120, True),
    ("lazy", Store, "commit", 3, False),
    ("lazy", RunDir, "append", 5, True),
]


@pytest.mark.parametrize(
    ("kind", "owner", "name", "at", "after"), POINTS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_killed_and_resumed_equals_undisturbed(undisturbed, kind, owner, name, at, after):
    """CORRECTNESS 11, 14 and 16: the gate of a resumed round is the same one, also of one that is collected ahead."""
    with pytest.MonkeyPatch.context() as patch:
        die(patch, owner, name, at, after)
        with pytest.raises(Killed):
            run(**RESUMED[kind])
    done = distil.train("cartpole-dagger", SMALL | RESUMED[kind], resume=True)
    want, data = undisturbed[kind]
    assert snapshot().digest == data.digest
    assert data.episodes.num_acted_by_expert[data.episodes.round > 0].any()
    for key, values in want.policy().ref.arrays.items():
        assert np.array_equal(values, done.policy().ref.arrays[key]), key
    assert done.metrics["budget/expert_labels"] == want.metrics["budget/expert_labels"]


def test_interventions_weigh_more(monkeypatch):
    """CORRECTNESS 29: in the loss of the rounds after, a step at which the expert took over counts more."""
    rounds, step, begin = [], Supervised.step, Supervised.begin

    def spy_begin(self, num_steps):
        rounds.append({})
        begin(self, num_steps)

    def spy(self, batches):
        batch = batches["demos"]
        if batch.weights is not None:  # the fits of gates have none
            keys = (row.tobytes() for row in batch.observations["obs"][:, 0].numpy())
            rounds[-1] |= zip(keys, batch.weights.tolist(), strict=True)
        return step(self, batches)

    monkeypatch.setattr(Supervised, "begin", spy_begin)
    monkeypatch.setattr(Supervised, "step", spy)
    run(**GATES["lazy"], **{"algorithm.weights.intervention": 8.0, "evaluation.episodes": 0})
    last, data, factors = rounds[-1], snapshot(), []
    for index in range(data.num_episodes):
        episode = data.episode(index)
        for t in np.flatnonzero(episode.labelled):
            factors.append(8.0 if episode.round and episode.acted_by_expert[t] else 1.0)
            assert last.get(episode.observations["obs"][t].astype(np.float32).tobytes(), factors[-1]) == factors[-1]
    assert set(factors) == {1.0, 8.0}
    assert set(last.values()) == {1.0, 8.0}


WIDE = {
    "rollouts.num_envs": 4,
    "policy.obs_horizon": 2,
    "policy.chunk": 2,
    "policy.encoder.hidden": [16],
    "learner.num_steps": 10,
    "learner.batch_size": 16,
    "algorithm.rounds": 2,
    "evaluation.episodes": 0,
    "data.episodes": 3,
}


@pytest.mark.parametrize("gate", [{"kind": "lazy", "threshold": 0.1, "leave": 0.2}, {"kind": "thrifty", "budget": 0.5}])
def test_continuous_actions_histories_and_chunks(gate):
    pendulum = {"env.id": "Pendulum-v1", "env.max_episode_steps": 20, "expert.kind": "scripted", "policy.ensemble": 2}
    distil.train("cartpole-dagger", RUN | pendulum | WIDE | {"algorithm.gate": gate})
    episodes = snapshot().episodes
    later = episodes.round > 0
    assert 0 < episodes.num_acted_by_expert[later].sum() <= episodes.num_labelled[later].sum()
    assert episodes.num_acted_by_expert[later].sum() < episodes.length[later].sum()
    for index in np.flatnonzero(later):
        episode = snapshot().episode(index)
        theirs = episode.acted_by_expert == 1
        np.testing.assert_array_equal(episode.actions[theirs], episode.expert_actions[theirs])


def test_images_among_other_observations(monkeypatch):
    monkeypatch.setattr(regressor, "_NUM_STEPS", 8)
    nested = {
        "env": {"kind": "import", "target": "testbed:Nested"},
        "expert": {"kind": "import", "target": "gatebed:nested_expert"},
        "policy.encoder": {"kind": "cnn", "channels": [8], "image_features": 8, "hidden": [16]},
    }
    config = {key: value for key, value in (RUN | WIDE | nested).items() if key != "env.max_episode_steps"}
    del config["policy.encoder.hidden"]
    distil.train("cartpole-dagger", config | {"algorithm.gate": {"kind": "safe", "threshold": 0.4}})
    episodes = snapshot().episodes
    assert episodes.num_labelled[episodes.round > 0].sum() == episodes.num_acted_by_expert[episodes.round > 0].sum()
    assert episodes.num_labelled[episodes.round > 0].any()


LONELY = {"expert": None, "data.episodes": None, "data.path": "store", "algorithm.gate": GATES["human"]["algorithm.gate"]}


def test_somebody_who_intervenes_is_expert_enough():
    """With a store to begin with, and no expert: only what they did is labelled."""
    run(**{"algorithm.rounds": 1, "evaluation.episodes": 0})
    before = snapshot()
    done = distil.train("cartpole-dagger", RUN | LONELY | {"env.id": "CartPole-v1"})
    data = snapshot()
    new = data.episodes.round > 0
    assert np.bincount(data.episodes.round).tolist() == [1, 3, 3]
    assert set(data.episodes.source[new]) == {"policy+human"}
    np.testing.assert_array_equal(data.episodes.num_labelled[new], data.episodes.num_acted_by_expert[new])
    assert 0 < data.episodes.num_labelled[new].sum() < data.episodes.length[new].sum()
    assert done.metrics["budget/expert_labels"] == before.num_transitions + data.episodes.num_labelled[new].sum()
    assert "eval/return_mean" in done.metrics
    assert "eval/normalised" not in done.metrics  # nobody to measure it against
    assert not {"expert/check_return_mean", "eval/expert_return_mean"} & done.metrics.keys()


def test_but_not_without_anything_to_begin_with():
    with pytest.raises(InputError, match=r"store: no store there, and no expert to fill it: set data\.path or expert\.kind"):
        distil.train("cartpole-dagger", RUN | LONELY)
    lonely = RUN | LONELY | {"algorithm.gate": {"kind": "safe"}}
    with pytest.raises(InputError, match=r"DAgger asks an expert, and none is configured: set expert\.kind"):
        distil.train("cartpole-dagger", lonely)


@pytest.mark.parametrize("answer", ["shape", "mask", "nothing", "nan", "choice", "raise"])
def test_an_intervener_that_fails_ends_the_run_in_a_line(answer):
    run(**{"algorithm.rounds": 1, "evaluation.episodes": 0})
    human = {"kind": "human", "intervener": RESCUER | {"kwargs": {"answer": answer, "patience": 0, "angle": 0.0}}}
    with pytest.raises(RunError, match=r"intervener|my hands are tied") as error:
        run(**{"algorithm.gate": human, "learner.num_steps": 5})
    assert "\n" not in str(error.value)
    assert "seed" in str(error.value)


def test_at_the_keyboard(monkeypatch):
    """In the environment's own window (without a screen here); nobody else labels."""
    run(**{"algorithm.rounds": 1, "evaluation.episodes": 0})
    for name in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        monkeypatch.setitem(os.environ, name, "dummy")
    import pygame

    steps = itertools.count()
    left = pygame.key.ScancodeWrapper(tuple(code == 80 for code in range(512)))  # HID's number of the left arrow
    none = pygame.key.ScancodeWrapper((False,) * 512)
    monkeypatch.setattr(pygame.key, "get_pressed", lambda: left if next(steps) % 3 == 1 else none)
    keyboard = {"kind": "human", "intervener": {"kind": "keyboard", "keys": {"left": 0, "right": 1}}}
    changes = {"algorithm.gate": keyboard, "algorithm.episodes_per_round": 1, "algorithm.rounds": 2, "rollouts.num_envs": 1}
    watched = {"env.id": "CartPole-v1", "env.kwargs.render_mode": "human", "evaluation.episodes": 0, "env.max_episode_steps": 8}
    distil.train("cartpole-dagger", RUN | LONELY | changes | watched)
    data = snapshot()
    (index,) = np.flatnonzero(data.episodes.round > 0)
    episode = data.episode(index)
    held = np.arange(episode.length) % 3 == 1
    np.testing.assert_array_equal(episode.acted_by_expert, held)
    np.testing.assert_array_equal(episode.labelled, held)
    assert not episode.actions[held].any()
    assert not episode.expert_actions.any()


def test_a_keyboard_without_a_window_is_bad_input():
    """An environment of one's own that opens none: seen when the first step is to be taken."""
    keyboard = {"kind": "human", "intervener": {"kind": "keyboard", "keys": {"left": 1}}}
    toy = {"env": {"kind": "import", "target": "testbed:Toy"}, "expert": {"kind": "random"}, "rollouts.num_envs": 1}
    config = {key: value for key, value in (RUN | toy).items() if key != "env.max_episode_steps"}
    with pytest.raises(InputError, match=r"pygame has none: set env\.kwargs\.render_mode=human"):
        distil.train("cartpole-dagger", config | {"algorithm.gate": keyboard, "learner.num_steps": 5})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm.gate.kind": "ensemble"}, r"set policy\.ensemble=5"),
        ({"algorithm.gate.kind": "safe", "algorithm.beta.kind": "linear"}, "a gate decides who acts, and so does beta"),
        ({"algorithm.gate.kind": "lasy"}, "did you mean lazy"),
        ({"algorithm.gate.kind": "lazy", "algorithm.gate.levae": 0.1}, "did you mean leave"),
        ({"algorithm.gate": {"kind": "human", "intervener": RESCUER | {"target": "gatebed:Reskuer"}}}, "did you mean Rescuer"),
        ({"expert": {"kind": "several", "members": {}}}, r"expert\.members"),
        ({"expert": {"kind": "several", "members": {"a": {"kind": "scripted", "name": "pendulum"}}}}, "scripted pendulum"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(changes, words):
    keys = {key: value for key, value in SMALL.items() if not ("expert" in changes and key.startswith("expert."))}
    with pytest.raises(InputError, match=words) as error:
        distil.train("cartpole-dagger", keys | changes)
    assert "\n" not in str(error.value)
    assert not Path("runs").exists()


def test_a_failure_that_the_environment_does_not_report_is_bad_input():
    """Known after the first round only: whether episodes say what succeeds."""
    gate = {"algorithm.gate": {"kind": "thrifty", "failure": "unsuccessful"}, "policy.ensemble": 2}
    with pytest.raises(InputError, match=r"failure=unsuccessful: the environment does not report success"):
        run(**gate)
    assert snapshot().num_episodes == 1  # the demonstration is kept
