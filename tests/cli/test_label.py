import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from labelbed import raw_store
from testbed import Balancer

import distil
from distil.cli.main import cli
from distil.errors import InputError
from distil.store import Store
from distil.store.gc import collect_garbage
from distil.store.history import drop


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return raw_store(tmp_path / "demos", [5, 9], [3])


def run(*words: object) -> str:
    return CliRunner().invoke(cli, ["store", "label", *map(str, words)], catch_exceptions=False, standalone_mode=False).output


def answer(*words: object) -> Any:
    return json.loads(run(*words, "--json"))


def test_a_raw_store_is_labelled_by_the_expert_for_its_environment(store: Store) -> None:
    text = run(store.path, "--expert", "scripted")
    assert [line.split() for line in text.splitlines()[-4:]] == [
        ["snapshot", "3"],
        ["episodes", "3"],
        ["labels", "17"],
        ["unlabelled_steps", "0"],
    ]
    assert store.snapshot().episodes.source.tolist() == ["random+expert:scripted cartpole"] * 3
    assert answer(store.path, "--expert", "kind=scripted", "--expert", "name=cartpole")["episodes"] == 0
    assert answer(store.path, "--expert", "scripted", "--again") == {
        "store": str(store.path),
        "snapshot": 3,
        "episodes": 3,
        "labels": 17,
        "unlabelled_steps": 0,
    }
    drop(store, [1, 2])
    assert len(collect_garbage(store, grace_s=0).deleted) == 2
    assert store.verify() == []


def test_chosen_episodes_and_settings_of_the_expert(store: Store) -> None:
    words = ["--expert", "import", "--expert", "target=testbed:Balancer", "--expert", "kwargs.num_envs=1"]
    found = answer(store.path, *words, "--select", "min_length=4", "--select", "sources=['rand*']")
    assert (found["episodes"], found["labels"]) == (2, 14)
    now = store.snapshot()
    assert now.episodes.num_labelled.tolist() == [5, 9, 0]
    assert now.episode(1).expert_actions.tolist() == Balancer().act(now.episode(1).observations["obs"][:-1]).tolist()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--expert", "scriptd"], "expert.kind: no kind 'scriptd'; did you mean scripted?"),
        (["--expert", "sb3", "--expert", "pth=x.zip"], "unknown key expert.pth; did you mean path?"),
        (["--expert", "name=cartpole"], "expert.kind is missing"),
        (["--expert", "random", "--expert", "scripted"], "duplicate key kind"),
        (["--expert", "random", "--select", "min_lenth=3"], "unknown key select.min_lenth; did you mean min_length?"),
        (["--expert", "random", "--select", "min_length=30"], "none of its 3 episodes fits (min_length=30)"),
        (["--expert", "sb3", "--expert", "path=nowhere.zip"], "nowhere.zip"),
        (["--expert", "scripted", "--expert", "name=pendulum"], "made for observations Box(3"),
    ],
)
def test_bad_input_is_named(store: Store, words: list[str], expected: str) -> None:
    with pytest.raises(InputError) as error:
        run(store.path, *words)
    assert expected in str(error.value)
    assert store.versions() == [1, 2]


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store there"):
        run(tmp_path / "nothing", "--expert", "random")


def test_the_same_in_python(store: Store) -> None:
    report = distil.label(store.path, expert={"kind": "scripted"}, select={"seeds": [1001]})
    assert (report.version, report.num_episodes, report.num_labels) == (3, 1, 9)
    assert store.snapshot().episodes.num_labelled.tolist() == [0, 9, 0]


@pytest.mark.ray
def test_an_unreliable_expert_is_asked_through_a_service(
    store: Store, ray_session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = tmp_path / "ledger"
    words = ["--expert", "import", "--expert", "target=testbed:Balancer", "--expert", f"kwargs.ledger={ledger}"]
    words += ["--expert", "kwargs.spoil=raise", "--expert", "kwargs.spoil_at=1", "--expert", "kwargs.num_envs=0"]
    found = answer(store.path, *words, "--service", "retries=3", "--service", "backoff_s=0.01", "--service", "num_cpus=0.1")
    assert (found["labels"], found["unlabelled_steps"]) == (17, 0)
    assert sum(map(int, ledger.read_text().split())) == 17  # CORRECTNESS 16
    assert "0" in ledger.read_text().split()  # it did fail
    assert list((tmp_path / "runs" / "labels").rglob("*.labels"))
    with pytest.raises(InputError, match=r"service\.retris; did you mean retries"):
        run(store.path, *words, "--service", "retris=3")
