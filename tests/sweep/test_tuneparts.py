import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from distil.sweep.crew import Crew
from distil.sweep.trial import Look, Work
from distil.sweep.tuneparts import Asked, Ended, Given

WORK = Work(name="bc-000", folder="f", config={}, metric="m", sign=1.0, parent="")


class Recorded(Crew):
    def __init__(self) -> None:
        self.left, self.looks, self.ends = [WORK], list[Look](), list[tuple[str, str | None]]()

    def next(self) -> Work | None:
        return self.left.pop() if self.left else None

    def heard(self, trial: str, look: Look) -> bool:
        self.looks.append(look)
        return look.score > 0

    def ended(self, trial: str, fault: str | None) -> None:
        self.ends.append((trial, fault))


def test_trials_are_given_until_there_are_none() -> None:
    given = Given(Recorded())
    suggested = given.suggest("x")
    assert isinstance(suggested, dict)
    assert Work.from_json(suggested["work"]) == WORK
    assert given.suggest("y") == Given.FINISHED


def test_a_score_is_decided_on_and_other_results_are_not() -> None:
    crew = Recorded()
    asked = Asked(crew)
    for score, expected in ((1.0, Asked.CONTINUE), (-1.0, Asked.STOP)):
        look = Look(fraction=0.5, score=score, labels=1, metrics={"tune/return_mean": 3.0})
        assert asked.on_trial_result(None, None, {"trial": "bc-000", "look": look.to_json()}) == expected
        assert crew.looks[-1] == look
    assert asked.on_trial_result(None, None, {"trial": "bc-000", "fault": "no"}) == Asked.CONTINUE


def test_ends_are_told_with_their_reason() -> None:
    crew = Recorded()
    ended, config = Ended(crew), {"work": WORK.to_json()}
    ended.on_trial_complete(0, [], SimpleNamespace(config=config, last_result={}))
    ended.on_trial_complete(0, [], SimpleNamespace(config=config, last_result={"fault": "it broke"}))
    ended.on_trial_error(0, [], SimpleNamespace(config=config, get_error=lambda: RuntimeError("a\n\nb: the end")))
    assert crew.ends == [("bc-000", None), ("bc-000", "it broke"), ("bc-000", "b: the end")]


@pytest.mark.parametrize("part", [Given, Asked, Ended])
def test_what_tune_pickles_of_them_holds_nothing(part: Any) -> None:
    assert type(pickle.loads(pickle.dumps(part(Recorded())))) is object
