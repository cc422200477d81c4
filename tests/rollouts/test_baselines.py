import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from powercut import PowerCut

from distil.rollouts import BaselineCache, EvalResult

KEY: dict[str, Any] = {"env": {"id": "CartPole-v1"}, "who": "expert", "seeds": [3, 4]}
RESULT = EvalResult(seeds=(3, 4), returns=np.array([0.1, 1 / 3]), lengths=np.array([5, 7]), successes=np.array([True, False]))


class Told:
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None:
        """Not for people."""

    def say(self, text: str) -> None:
        self.said.append(text)


class Expert:
    """Counts how often it is measured."""

    def __init__(self) -> None:
        self.num = 0

    def __call__(self) -> EvalResult:
        self.num += 1
        return RESULT


def entry(folder: Path) -> Path:
    [path] = folder.glob("*.json")
    return path


def test_a_result_is_measured_once_for_all_caches_on_the_folder(tmp_path: Path) -> None:
    expert, told = Expert(), Told()
    BaselineCache(tmp_path / "baselines", told).get(KEY, "expert", expert)
    assert told.said == []
    for _ in range(2):
        again = BaselineCache(tmp_path / "baselines", told).get(dict(reversed(KEY.items())), "expert", expert)
        assert again.to_json() == RESULT.to_json()
        assert (again.returns.dtype, again.lengths.dtype) == (np.float64, np.int64)
    assert expert.num == 1
    assert set(told.said) == {f"scores of expert and random policy: from {tmp_path}/baselines; delete it to measure them again"}


@pytest.mark.parametrize("change", [{"env": {"id": "CartPole-v1", "kwargs": {}}}, {"who": "random"}, {"seeds": [3]}])
def test_each_part_of_the_key_counts(tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expert, cache = Expert(), BaselineCache(tmp_path)
    for key in (KEY, KEY | change, KEY):
        cache.get(key, "expert", expert)
    assert expert.num == 2
    monkeypatch.setattr("distil.rollouts.baselines.FORMAT", 2)
    cache.get(KEY, "expert", expert)
    assert expert.num == 3


@pytest.mark.parametrize("damage", ["cut", "digit", "other", "empty"])
def test_a_damaged_file_is_measured_again_and_said(tmp_path: Path, damage: str) -> None:
    expert, told = Expert(), Told()
    cache = BaselineCache(tmp_path, told)
    cache.get(KEY, "expert", expert)
    path = entry(tmp_path)
    raw = path.read_bytes()
    if damage == "other":  # another key's file under this name
        cache.get(KEY | {"who": "random"}, "random", expert)
        [other] = set(tmp_path.glob("*.json")) - {path}
        other.rename(path)
    else:
        path.write_bytes({"cut": raw[:-9], "digit": raw.replace(b"0.1", b"0.2"), "empty": b""}[damage])
    before = expert.num
    assert cache.get(KEY, "expert", expert).to_json() == RESULT.to_json()
    assert expert.num == before + 1
    assert told.said[0] == f"{path}: damaged or not readable; measured again"
    cache.get(KEY, "expert", expert)
    assert expert.num == before + 1


def test_two_that_need_a_result_at_once_measure_it_once(tmp_path: Path) -> None:
    """The second one waits for the first one's result."""
    is_measuring, is_waiting, results = threading.Event(), threading.Event(), list[EvalResult]()
    expert, told = Expert(), Told()

    def measure() -> EvalResult:
        is_measuring.set()
        assert is_waiting.wait(30)
        return expert()

    class Waits(Told):
        def say(self, text: str) -> None:
            super().say(text)
            is_waiting.set()

    waits = Waits()
    first = threading.Thread(target=lambda: results.append(BaselineCache(tmp_path, told).get(KEY, "expert A", measure)))
    first.start()
    assert is_measuring.wait(30)
    results.append(BaselineCache(tmp_path, waits).get(KEY, "expert A", expert))
    first.join(30)
    assert waits.said[0] == "expert A: another process measures it; waiting for the result"
    assert [result.to_json() for result in results] == [RESULT.to_json()] * 2
    assert expert.num == 1


def test_what_fails_is_not_kept_and_the_next_one_measures(tmp_path: Path) -> None:
    def fail() -> EvalResult:
        raise ConnectionError("the expert is away")

    with pytest.raises(ConnectionError):
        BaselineCache(tmp_path).get(KEY, "expert", fail)
    assert list(tmp_path.glob("*.json")) == []
    expert = Expert()
    BaselineCache(tmp_path).get(KEY, "expert", expert)
    assert expert.num == 1


def test_where_nothing_can_be_written_it_is_measured_and_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expert, told = Expert(), Told()
    for num in (1, 2):
        cache = BaselineCache(tmp_path / "file" / "baselines", told)
        assert cache.get(KEY, "expert", expert) is RESULT
        assert expert.num == num
    assert len(told.said) == 2
    assert all(text.endswith("not kept (Not a directory); the next run measures it again") for text in told.said)


def test_a_return_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    told = Told()
    bad = EvalResult(seeds=(3,), returns=np.array([np.nan]), lengths=np.array([5]), successes=None)
    assert BaselineCache(tmp_path, told).get(KEY, "expert A", lambda: bad) is bad
    assert list(tmp_path.glob("*.json")) == []
    assert told.said == [f"expert A: a return is not finite; the result is not kept in {tmp_path}"]


def test_a_power_cut_loses_no_result(tmp_path: Path, power_cut: PowerCut) -> None:
    BaselineCache(tmp_path / "baselines").get(KEY, "expert A", Expert())
    assert json.loads(entry(tmp_path / "baselines").read_bytes())["name"] == "expert A"
    assert [path for path in power_cut.lost(tmp_path) if not path.endswith(".lock")] == []
