from dataclasses import replace
from typing import Any

import pytest

from distil.sweep.ranking import Confirmed, best, front, front_text, rank, searched, verdict
from distil.sweep.state import Trial


def trial(name: str, score: float | None, ended: str | None = "done", **keys: Any) -> Trial:
    looks = [] if score is None else [{"score": score, "labels": keys.pop("labels", 0), "kept": True}]
    return Trial(name=name, family=name.split("-")[0], values={}, looks=looks, ended=ended, **keys)


def confirmed(name: str, *scores: float, labels: float = 0.0) -> Confirmed:
    found, spent = dict(enumerate(scores)), {"expert_labels": labels}
    return Confirmed(trial=name, family=name, values={}, searched=0.0, scores=found, runs=(), spent=spent)


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


def test_with_two_objectives_the_front_is_confirmed_first() -> None:
    points = {"a": (0.9, 900), "b": (0.8, 900), "c": (0.5, 400), "d": (0.4, 500), "e": (0.2, 100), "f": (0.2, 100)}
    trials = [trial(f"bc-{name}", score, labels=labels) for name, (score, labels) in points.items()]
    chosen = {num: [one.name[3:] for one in best(trials, num, by_labels=True)] for num in range(1, 6)}
    assert chosen == {
        1: ["a"],
        2: ["a", "e"],
        3: ["a", "c", "e"],
        4: ["a", "b", "c", "e"],
        5: ["a", "b", "c", "d", "e"],
    }
    assert [one.name[3:] for one in best(trials, 3)] == ["a", "b", "c"]
    assert best([], 3, by_labels=True) == []


def test_more_of_a_front_than_can_be_confirmed_is_spread_with_both_ends() -> None:
    trials = [trial(f"bc-{number}", number / 10, labels=100 * number) for number in range(9)]
    assert [one.name for one in best(trials, 3, by_labels=True)] == ["bc-8", "bc-4", "bc-0"]
    assert [one.name for one in best([*trials, trial("dagger-0", 0.79, labels=900)], 2, by_labels=True)] == ["bc-8", "bc-0"]


def test_the_front_of_the_confirmed_is_said() -> None:
    many, dominated, few = (
        confirmed("many", 0.9, 1.0, labels=1200),
        confirmed("no", 0.8, 0.8, labels=1300),
        confirmed("few", 0.5, 0.7, labels=600),
    )
    found = front([many, dominated, few])
    assert [one.trial for one in found] == ["few", "many"]
    assert front_text(found) == (
        "Pareto front of score and labels: few (0.600 with 600 labels), many (0.950 with 1,200 labels)."
    )


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
    assert replace(one, runs=("x", "y")).best_run == "y"
    assert one.interval is not None
    assert one.interval[0] < 0.5


def test_a_search_without_confirmations_says_so() -> None:
    assert searched([trial("bc-0", 0.5), trial("bc-1", 0.7)]).startswith("bc-1 has the best score of the search, with one seed")
    assert searched([trial("bc-0", None, "failed")]) == "No trial came to its end."
