from typing import Any

import pytest

from distil.sweep.ranking import Confirmed, best, rank, searched, verdict
from distil.sweep.state import Trial


def trial(name: str, score: float | None, ended: str | None = "done", **keys: Any) -> Trial:
    looks = [] if score is None else [{"score": score}]
    return Trial(name=name, family=name.split("-")[0], values={}, looks=looks, ended=ended, **keys)


def confirmed(name: str, *scores: float) -> Confirmed:
    found = dict(enumerate(scores))
    return Confirmed(trial=name, family=name, values={}, searched=0.0, scores=found, runs=(), spent={})


def test_the_best_are_chosen_among_those_that_came_to_their_end() -> None:
    trials = [
        trial("bc-0", 0.5),
        trial("bc-1", 0.9, "stopped"),
        trial("bc-2", 0.7),
        trial("bc-3", None, "failed"),
        trial("bc-4", 0.8, None),
        trial("bc-5", 0.99, of="bc-0"),
    ]
    assert [one.name for one in best(trials, 2)] == ["bc-2", "bc-0"]


def test_each_family_is_among_them_as_long_as_there_is_room() -> None:
    trials = [trial("bc-0", 0.5), trial("bc-1", 0.6), trial("dagger-0", 0.9), trial("dagger-1", 0.8), trial("dagger-2", 0.7)]
    assert [one.name for one in best(trials, 3)] == ["dagger-0", "dagger-1", "bc-1"]
    assert [one.name for one in best(trials, 1)] == ["dagger-0"]


def test_ranking_is_by_the_mean_not_by_a_bound() -> None:
    sure, better = confirmed("sure", 0.7, 0.7, 0.7), confirmed("better", 0.5, 0.9, 1.0)
    assert [one.trial for one in rank([sure, better])] == ["better", "sure"]


def test_a_tie_is_said_and_a_clear_winner_too() -> None:
    first, near, far = confirmed("a", 0.9, 0.8, 0.95), confirmed("b", 0.85, 0.9, 0.8), confirmed("c", 0.2, 0.1, 0.22)
    assert verdict([first, near, far]).endswith("over 3 seeds; b may be as good.")
    assert verdict([first, far]).endswith("above all others.")
    assert verdict([first]).endswith("over 3 seeds.")
    assert verdict([]) == "No configuration was confirmed."


def test_means_and_intervals_are_over_seeds() -> None:
    one = confirmed("a", 0.5, 0.7)
    assert one.mean == pytest.approx(0.6)
    assert one.to_json()["scores"] == {"0": 0.5, "1": 0.7}
    assert one.interval is not None
    assert one.interval[0] < 0.5


def test_a_search_without_confirmations_says_so() -> None:
    assert searched([trial("bc-0", 0.5), trial("bc-1", 0.7)]).startswith("bc-1 has the best score of the search, with one seed")
    assert searched([trial("bc-0", None, "failed")]) == "No trial came to its end."
