from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distil.interchange.episodes import BadEpisodeError
from distil.interchange.step_order import StepOrder, scattered


def arranged(order: StepOrder, values: list[Any]) -> tuple[list[Any], bool]:
    table, moved = order.arrange(pa.table({"n": values}))
    return table["n"].to_pylist(), moved


def test_counters_begin_alike_or_go_on_over_all_episodes() -> None:
    order = StepOrder("n")
    assert arranged(order, [2, 0, 1]) == ([0, 1, 2], True)
    assert arranged(order, [0, 1]) == ([0, 1], False)
    assert arranged(order, [2, 3]) == ([2, 3], False)  # goes on after the episode before
    assert arranged(order, [4]) == ([4], False)
    with pytest.raises(BadEpisodeError, match="begins with n 7, not 0"):
        order.arrange(pa.table({"n": [7, 8]}))
    assert arranged(StepOrder("n"), [10, 0, 5]) == ([0, 5, 10], True)  # every fifth step
    assert arranged(StepOrder(None), [2, 0]) == ([2, 0], False)


@pytest.mark.parametrize(
    ("values", "what", "step"),
    [
        ([0, 1, 1], "n 1 is a duplicate", 1),
        ([0, 1, 3], "n goes from 1 to 3", 2),
        ([0, 2, 3], "n goes from 0 to 2", 1),
        ([0, None], "n has no value", 1),
        ([0.0, float("nan")], "n isn't a number in each row", None),
        (["a", "b"], "n isn't numbers", None),
    ],
)
def test_what_is_no_order(values: list[Any], what: str, step: int | None) -> None:
    with pytest.raises(BadEpisodeError, match=what) as caught:
        StepOrder("n").arrange(pa.table({"n": values}))
    assert caught.value.step == step


def test_scattered_episodes_are_found_over_all_files(tmp_path: Path) -> None:
    for name, keys in (("a", ["x", "y", "x"]), ("b", ["z", "w"]), ("c", ["w", "z"])):
        pq.write_table(pa.table({"k": keys, "more": [0] * len(keys)}), tmp_path / f"{name}.parquet")
    assert scattered(sorted(tmp_path.glob("*.parquet")), "k") == ({"x", "z"}, "w")
    assert scattered([tmp_path / "b.parquet"], "k") == (set(), None)
