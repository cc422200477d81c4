"""Videos of real runs, small ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparebed import record

from distil import api
from distil.compare.comparison import compare
from distil.compare.films import record_films
from distil.compare.sources import read_all
from distil.errors import InputError


def test_each_method_is_shown_beside_the_expert(tmp_path: Path) -> None:
    settings = {
        "env.max_episode_steps": 20,
        "rollouts.num_workers": 0,
        "tracking.enabled": False,
        "data.episodes": 2,
        "learner.num_steps": 5,
        "evaluation.episodes": 3,
    }
    for seed, steps in ((0, 5), (1, 5), (0, 6)):
        api.train("cartpole-bc", settings | {"seed": seed, "learner.num_steps": steps})
    found = compare(read_all([str(tmp_path / "runs")], ""))
    films = record_films(found)
    names = ["expert", *(method.name for method in found.methods)]
    assert [(film.group, film.title) for film in films] == [
        (name, place) for name in names for place in ("worst", "median", "best")
    ]
    assert all(b"ftyp" in film.mp4[:16] and len(film.mp4) < 100_000 for film in films)
    returns = [float(film.caption.rpartition(" ")[2]) for film in films]
    assert all(returns[i] <= returns[i + 1] <= returns[i + 2] for i in range(0, len(returns), 3))
    assert films[3].caption.startswith("of 3 episodes, seed ")


def test_without_a_policy_there_is_no_video() -> None:
    with pytest.raises(InputError, match="none of the runs has a folder with a policy"):
        record_films(compare([record("a", 0, 1.0)]))
