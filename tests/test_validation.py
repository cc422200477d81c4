"""What is refused before anything starts; nothing is written meanwhile. More in test_session.py and test_api.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError
from distil.runconfig import RunConfig
from distil.setting import Setting
from distil.store import Store
from distil.types import Episode
from distil.validation import adds_episodes, check_data, check_new_run, check_parts, store_spec

BASE = {"env": {"id": "CartPole-v1"}, "expert": {"kind": "scripted"}}

BOX = {"env": {"id": "Pendulum-v1"}}


def config(**keys: Any) -> RunConfig:
    return validate(RunConfig, BASE | keys)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"policy": {"head": {"kind": "gaussian"}}}, "discrete"),
        (
            BOX | {"algorithm": {"kind": "dagger", "act": "sample"}},
            "algorithm.act=sample: .*one action a state; set algorithm.act",
        ),
        (BOX | {"evaluation": {"act": "sample"}}, "evaluation.act=sample: .*one action a state; set evaluation.act=point"),
        (
            BOX | {"evaluation": {"act": "sample"}, "policy": {"head": {"kind": "two_step"}}},
            "head.kind=two_step has one action a state",
        ),
        (
            BOX | {"policy": {"chunk": 201}},
            "policy.chunk=201 is longer than an episode of Pendulum-v1, which ends after 200 steps",
        ),
        ({"learner": {"augment": [{"kind": "shift"}]}}, "shift is for images"),
        ({"algorithm": {"kind": "dagger", "stop": {"env_steps": 499}}}, "below one episode, which may take 500"),
    ],
)
def test_parts_that_do_not_fit_the_environment(keys: dict[str, Any], text: str) -> None:
    spec = Setting.of(config()).spec
    check_parts(config(), spec)
    other = config(**keys)
    with pytest.raises(InputError, match=text):
        check_parts(other, Setting.of(other).spec)


def test_a_store_must_be_there_or_an_expert_to_fill_it(tmp_path: Path) -> None:
    spec = Setting.of(config()).spec
    missing = {"data": {"path": str(tmp_path / "demos")}}
    check_data(config(**missing), spec)
    with pytest.raises(InputError, match="no store there, and no expert to fill it"):
        check_data(config(**missing, expert=None), spec)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["file", "file/below"])
def test_a_place_where_no_store_can_be_made(tmp_path: Path, taken: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file; choose another folder with data\.path"):
        check_data(config(data={"path": str(tmp_path / taken)}), Setting.of(config()).spec)


def test_who_adds_episodes_needs_a_store_of_the_same_environment_and_infos(tmp_path: Path) -> None:
    data = {"data": {"path": str(tmp_path / "demos")}}
    spec = Setting.of(config()).spec
    Store.open_or_create(tmp_path / "demos", store_spec(config(**data), spec))
    other = {**data, "env": {"id": "CartPole-v0"}}
    with pytest.raises(InputError, match="CartPole"):
        check_data(config(**other), spec)
    check_data(config(**other, expert=None), spec)  # it only reads; the spaces fit
    check_data(config(**data, rollouts={"infos": ["x"]}), spec)  # what is there may suffice
    with pytest.raises(InputError, match="infos"):
        check_data(config(**data, rollouts={"infos": ["x"]}, algorithm={"kind": "dagger"}), spec)


def test_a_new_run_without_an_expert_needs_enough_demonstrations(tmp_path: Path) -> None:
    data = {"data": {"path": str(tmp_path / "demos"), "episodes": 4}, "tracking": {"enabled": False}}
    spec = Setting.of(config()).spec
    Store.open_or_create(tmp_path / "demos", store_spec(config(**data), spec))
    check_new_run(config(**data), spec)  # the expert adds them
    with pytest.raises(InputError, match=r"data\.episodes=4, but the store has 0 demonstrations: set data\.episodes=null, or"):
        check_new_run(config(**data, expert=None), spec)


def test_a_new_run_needs_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees no GPU"):
        check_new_run(config(learner={"device": "cuda"}), Setting.of(config()).spec)
    assert list(tmp_path.iterdir()) == []


def test_who_adds_episodes() -> None:
    assert adds_episodes(config())
    assert not adds_episodes(config(expert=None))
    human = {"kind": "human", "intervener": {"kind": "import", "target": "m:t"}}
    assert adds_episodes(config(expert=None, algorithm={"kind": "dagger", "gate": human}))


NESTED = {"env": {"kind": "import", "target": "testbed:Nested"}, "expert": {"kind": "random"}}
PARTS = {"step": {"kind": "soft_q"}, "reward": {"kind": "constant"}}
SQIL = {"algorithm": {"kind": "sqil"}, "tracking": {"enabled": False}}


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (BOX, r"algorithm\.step\.kind=soft_q needs one Discrete action: use a step for Box actions, such as sac"),
        ({"algorithm": {"kind": "dac"}}, r"sac needs Box actions: use a step for Discrete ones, such as soft_q or ppo"),
        ({"algorithm": {"kind": "bc", "objective": {"kind": "interaction", **PARTS}}},
         r"interaction learns from the stream 'agent', which algorithm\.kind=bc does not give it: choose another algorithm"),
        (NESTED | {"algorithm": {"kind": "gail"}}, r"=ppo reads .* the image obs/image is not .*encoder\.kind=mlp"),
    ],
)  # fmt: skip
def test_a_step_that_does_not_fit(tmp_path: Path, keys: dict[str, Any], text: str) -> None:
    """Named before anything starts, in one line with the fix."""
    own = config(**(SQIL | {"data": {"path": str(tmp_path / "demos")}} | keys))
    with pytest.raises(InputError, match=text) as caught:
        check_new_run(own, Setting.of(own).spec)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_head_without_a_density_can_not_act_by_samples() -> None:
    own = config(**(BOX | {"algorithm": {"kind": "dac"}, "policy": {"head": {"kind": "deterministic"}}}))
    with pytest.raises(InputError, match=r"deterministic has one action a state; leave policy\.head\.kind at auto"):
        check_parts(own, Setting.of(own).spec)


def episode(number: int, length: int = 6, **facts: Any) -> Episode:
    """Of CartPole's spaces; the expert acts, unless `facts` say something else."""
    rng = np.random.default_rng(number)
    marks = np.ones(length, np.uint8)
    base = {
        "observations": {"obs": rng.normal(size=(length + 1, 4)).astype(np.float32)},
        "actions": rng.integers(0, 2, length),
        "rewards": np.ones(length),
        "terminated": True,
        "truncated": False,
        "expert_actions": rng.integers(0, 2, length),
        "labelled": marks,
        "acted_by_expert": marks,
        "uid": f"given-{number:04d}",
        "source": "expert:scripted",
    }
    return Episode(**(base | facts))


def stored(folder: Path, episodes: list[Episode], **keys: Any) -> RunConfig:
    """A run on stored episodes alone."""
    own = config(**(SQIL | {"expert": None, "data": {"path": str(folder / "demos")}} | keys))
    store = Store.open_or_create(folder / "demos", store_spec(own, Setting.of(own).spec))
    writer = store.writer("w")
    for one in episodes:
        writer.add(one)
    entry = writer.seal()
    assert entry is not None
    store.commit([entry])
    return own


def repeated(number: int) -> Episode:
    """As an importer makes it that has no final observation."""
    obs = episode(number).observations["obs"].copy()
    obs[-1] = obs[-2]
    return episode(number, observations={"obs": obs})


def waiting(number: int) -> Episode:
    """The expert has arrived, and waits."""
    obs = episode(number).observations["obs"].copy()
    obs[-3:] = obs[-3]
    return episode(number, observations={"obs": obs})


NOBODY = np.zeros(6, np.uint8)


@pytest.mark.parametrize(
    ("episodes", "text"),
    [
        ([episode(i, 1) for i in range(3)], "each of its 3 demonstrations has a single step, .* give complete episodes"),
        ([repeated(i) for i in range(3)], "copy of the one before it, .*: import it again with final_observation=drop"),
        ([episode(0), episode(1, acted_by_expert=NOBODY, policy_version=3, source="policy+expert:scripted")],
         r"in 1 of 2 episodes somebody other than the expert acted \(policy\+expert:scripted\), .*max_policy_version=-1"),
        ([episode(0, acted_by_expert=NOBODY, source="random")], r"\(random\), .*: set data\.select\.sources, such as expert:"),
    ],
)  # fmt: skip
def test_demonstrations_whose_transitions_are_not_the_experts(tmp_path: Path, episodes: list[Episode], text: str) -> None:
    """Cloning may learn from their labels; who imitates by interaction reads what was done, and what came of it."""
    own = stored(tmp_path, episodes)
    with pytest.raises(InputError, match=text) as caught:
        check_new_run(own, Setting.of(own).spec)
    assert "\n" not in str(caught.value)
    cloning = stored(tmp_path / "bc", episodes, algorithm={"kind": "bc"})
    check_new_run(cloning, Setting.of(cloning).spec)


def test_demonstrations_that_can_be_imitated(tmp_path: Path) -> None:
    good = [episode(i) for i in range(2)] + [waiting(i + 2) for i in range(3)]
    own = stored(tmp_path, good)
    check_new_run(own, Setting.of(own).spec)
    policys = episode(9, acted_by_expert=NOBODY, policy_version=3, source="policy+expert:scripted")
    chosen = {"path": str(tmp_path / "more" / "demos"), "select": {"max_policy_version": -1}}
    own = stored(tmp_path / "more", [*good, policys], data=chosen)
    check_new_run(own, Setting.of(own).spec)


def test_given_demonstrations_and_those_of_a_mixture_are_looked_at_too(tmp_path: Path) -> None:
    bad = [repeated(i) for i in range(3)]
    own = stored(tmp_path, bad)
    for keys in (
        {"data": {"path": str(tmp_path / "demos"), "episodes": 4}, "expert": {"kind": "scripted"}},
        {"data": {"path": str(tmp_path / "demos"), "episodes": 2}, "expert": None},
        {"data": {"mixture": {"parts": [{"path": str(tmp_path / "demos")}]}}},
    ):
        other = config(**(SQIL | keys))
        with pytest.raises(InputError, match="final_observation=drop"):
            check_new_run(other, Setting.of(own).spec)


def test_given_demonstrations_have_labels_that_differ(tmp_path: Path) -> None:
    cloning = {"algorithm": {"kind": "bc"}}
    same = [episode(i, expert_actions=np.ones(6, np.int64)) for i in range(3)]
    unlabelled = episode(3, labelled=np.zeros(6, np.uint8))
    own = stored(tmp_path / "same", [unlabelled, *same], **cloning)
    with pytest.raises(InputError, match=r"demos: all labels are the same action, 1, so there is nothing to learn: give"):
        check_new_run(own, Setting.of(own).spec)
    own = stored(tmp_path / "other", [*same, episode(4, expert_actions=np.array([1, 1, 1, 1, 1, 0]))], **cloning)
    check_new_run(own, Setting.of(own).spec)


def test_given_demonstrations_are_as_long_as_a_chunk(tmp_path: Path) -> None:
    cloning = {"algorithm": {"kind": "bc"}}
    for chunk in (6, 7):
        own = stored(tmp_path / str(chunk), [episode(i, 4 + i) for i in range(3)], **cloning, policy={"chunk": chunk})
        if chunk == 6:
            check_new_run(own, Setting.of(own).spec)
        else:
            with pytest.raises(
                InputError, match=r"demos: policy\.chunk=7 is longer than each of .*, of 6 steps at most: lower it"
            ):
                check_new_run(own, Setting.of(own).spec)


def test_an_algorithm_that_learns_from_no_demonstrations_needs_no_store(tmp_path: Path) -> None:
    path = tmp_path / "none"
    settings = config(expert=None, algorithm={"kind": "rl"}, data={"path": str(path)}, tracking={"enabled": False})
    check_new_run(settings, Setting.of(settings).spec)
    assert not path.exists()
