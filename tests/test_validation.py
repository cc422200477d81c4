"""What is refused before anything starts; nothing is written meanwhile. More in test_session.py and test_api.py."""

from pathlib import Path
from typing import Any

import pytest

from distil.config import validate
from distil.errors import InputError
from distil.runconfig import RunConfig
from distil.setting import Setting
from distil.store import Store
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


@pytest.mark.parametrize(
    ("keys", "text"),
    [({"learner": {"device": "cuda"}}, "torch sees no GPU"), ({"tracking": {"uri": "nonsense://x"}}, "MLflow at nonsense")],
)
def test_a_new_run_needs_its_device_and_its_tracker(
    tmp_path: Path, keys: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match=text):
        check_new_run(config(**keys), Setting.of(config()).spec)
    assert list(tmp_path.iterdir()) == []


def test_who_adds_episodes() -> None:
    assert adds_episodes(config())
    assert not adds_episodes(config(expert=None))
    human = {"kind": "human", "intervener": {"kind": "import", "target": "m:t"}}
    assert adds_episodes(config(expert=None, algorithm={"kind": "dagger", "gate": human}))
