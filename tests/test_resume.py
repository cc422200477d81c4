import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distil.config import to_yaml
from distil.errors import InputError
from distil.resume import run_to_continue
from distil.runconfig import RunConfig, load_config
from distil.rundir import RunDir

RECIPE = "cartpole-bc"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(**keys: Any) -> RunConfig:
    return load_config(RECIPE, keys)


def start(folder: str | None = None, **keys: Any) -> RunDir:
    settings = config(**keys)
    return RunDir.create(Path(settings.runs), settings.name, to_yaml(settings), folder=folder)


def found(recipe: str | Path = RECIPE, run: str | None = None, **keys: Any) -> RunDir | None:
    return run_to_continue(load_config(recipe, keys), recipe, run)


def test_each_of_two_seeds_that_were_cut_off_is_found_by_its_configuration() -> None:
    """Issue 8, number 3: only the newest run of a name could be resumed."""
    first, second, third = start(seed=0), start(seed=1), start("mine", seed=2)
    assert [found(seed=seed) for seed in range(3)] == [first, second, third]
    with pytest.raises(InputError, match=r"runs/cartpole-bc-001: seed \(0 then, 7 now\); runs/.*; set them back") as caught:
        found(seed=7)
    assert "\n" not in str(caught.value)


def test_what_does_not_change_the_result_does_not_matter() -> None:
    first = start(seed=0)
    start(seed=1)
    elsewhere = {"rollouts.num_workers": 7, "tracking.enabled": False, "evaluation.video": True}
    assert found(seed=0, **elsewhere) == first


def test_a_run_is_named_by_its_folder_its_configuration_or_its_name() -> None:
    first, second = start(), start()
    assert found(first.path) == found(first.path / "config.yaml") == found(run=first.name) == first
    assert found(second.path) == found(second.path / "config.yaml") == found(run=second.name) == second
    assert found(run="not-yet") is None  # to be started
    with pytest.raises(InputError, match=r"001 and --run cartpole-bc-002 are two runs"):
        found(first.path, run=second.name)
    for bad in ("../x", "a/b", "", ".", ".hidden", "a b"):
        with pytest.raises(InputError, match="not a name of letters"):
            found(run=bad)
    for given in ({"recipe": first.path}, {"run": first.name}):
        with pytest.raises(InputError, match=r"cartpole-bc-001: cannot resume .* seed \(0 then, 5 now\)"):
            found(**given, seed=5)


def test_a_folder_that_was_moved_is_found_by_its_path(tmp_path: Path) -> None:
    moved = start().path.rename(tmp_path / "moved")
    assert found(moved) == RunDir(moved)
    assert found(moved / "config.yaml") == RunDir(moved)


def test_several_candidates_are_listed_with_what_differs() -> None:
    first, second = start(), start(**{"rollouts.num_workers": 3})
    first.append("reported", round=0, report={"index": 0, "snapshot": 1, "policy_version": 1, "metrics": {}})
    with pytest.raises(InputError, match=r"2 unfinished runs have this configuration: .* choose one with --run NAME") as caught:
        found()
    text = str(caught.value)
    assert "\n" not in text
    for words in ("cartpole-bc-001 (1 rounds,", "cartpole-bc-002 (0 rounds,", "rollouts.num_workers=3"):
        assert words in text
    assert "seed" not in text
    second.finish({})
    assert found() == first


def test_a_run_that_another_process_carries_out_is_no_candidate() -> None:
    first, second = start(), start()
    code = (
        "import sys; from pathlib import Path; from distil.rundir import RunDir\n"
        f"with RunDir(Path({str(second.path)!r})).lock(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert second.is_running()
        assert not first.is_running()
        assert found() == first
        process.communicate("")
    assert not second.is_running()


def test_a_finished_run_has_nothing_left_and_an_unfinished_one_comes_first() -> None:
    first, second = start(), start()
    second.finish({"eval/return_mean": 1.0})
    assert second.is_finished
    assert found() == first
    first.finish({})
    assert found() == second  # the newest; resuming it does nothing


def test_nothing_to_resume() -> None:
    with pytest.raises(InputError, match=r"runs/cartpole-bc-\*: no run to resume"):
        found()
    start(name="cartpole-bc-2")  # another name, that only begins alike
    with pytest.raises(InputError, match="no run to resume"):
        found()


def test_an_unreadable_configuration_is_one_of_the_reasons() -> None:
    broken, whole = start(), start()
    broken.config.write_text("name: cartpole-bc\nno_such_key: 1\n")
    assert found() == whole
    with pytest.raises(InputError, match=r"001: its configuration cannot be read .*no_such_key"):
        found(seed=3)
