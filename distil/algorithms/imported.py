"""The user's own algorithm: a class, named as package.module:Class, whose rounds are checked before they are carried out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from distil.algorithms.base import AlgorithmConfig, Budget, Needs
from distil.algorithms.validity import fault_of
from distil.config import import_target
from distil.errors import InputError, RunError
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.plans import Round, RoundReport


class ImportAlgorithmConfig(AlgorithmConfig):
    """An algorithm of the user's own: a class that is made as `Class(budget=..., **kwargs)`.

    Its method `next_round(last)` returns the `distil.plans.Round` after the report `last` (None: nothing is done yet), or None
    at the end of the run. It decides from its arguments alone: a resumed run makes the class anew and asks once more.
    """

    kind: Literal["import"] = "import"
    target: str  # package.module:Class
    kwargs: dict[str, Any] = Field(default_factory=dict)
    objective: ObjectiveConfig = SupervisedConfig()  # what the learner minimises
    collects: bool = False  # adds episodes to the demonstrations in later rounds, as DAgger does
    overlap: int = Field(default=0, ge=0, le=8)  # rounds that it has collected ahead (`Round.ahead`), at most

    @property
    def needs(self) -> Needs:
        """What the configuration says: the class isn't imported for it."""
        return Needs(collects=self.collects, overlap=self.overlap)

    def build(self, budget: Budget) -> ImportedAlgorithm:
        """Return the algorithm under `budget`, after a look at its first round.

        Raises:
            InputError: the class is missing, can't be made, has no `next_round`, or its first round can't be carried out. One
                line names the class and what is wrong.
        """
        algorithm = ImportedAlgorithm(self.target, self._make(budget), budget, self.needs)
        try:
            first = algorithm.next_round(None)
            again = algorithm.next_round(None)
        except RunError as error:
            raise InputError(str(error)) from error.__cause__
        if first is None:
            raise InputError(f"algorithm {self.target}: next_round(None) returned None, so the run has no round; fix it")
        if first != again:
            raise InputError(
                f"algorithm {self.target}: two calls of next_round(None) returned different rounds, so a resumed run would "
                "differ: decide from `last` and the budget alone"
            )
        return algorithm

    def _make(self, budget: Budget) -> Any:
        made = import_target(self.target, "algorithm")
        if not isinstance(made, type):
            raise InputError(f"algorithm {self.target}: {made!r} is no class; name one with a method next_round(last)")
        if not callable(getattr(made, "next_round", None)):
            raise InputError(f"algorithm {self.target}: has no method next_round(last); write it")
        try:
            return made(budget=budget, **self.kwargs)
        except (InputError, RunError):
            raise
        except Exception as error:
            raise InputError(
                f"algorithm {self.target}: Class(budget=..., **kwargs) failed: {_reason(error)}; fix it"
            ) from error


class ImportedAlgorithm:
    """Names the user's class where it raises, or returns what can't be carried out."""

    def __init__(self, target: str, made: Any, budget: Budget, needs: Needs) -> None:
        """Ask `made`, an object of the class `target`."""
        self._target, self._made, self._budget, self._needs = target, made, budget, needs

    def next_round(self, last: RoundReport | None) -> Round | None:
        """Return what the user's class returns; RunError if it raises, or if the round can't be carried out."""
        try:
            todo = self._made.next_round(last)
        except (InputError, RunError):
            raise
        except Exception as error:
            raise RunError(f"algorithm {self._target}: next_round failed: {_reason(error)}; fix it") from error
        if todo is None:
            return None
        index = 0 if last is None else last.index + 1
        if fault := fault_of(todo, index, self._budget, self._needs):
            raise RunError(f"algorithm {self._target}: round {index}: {fault}")
        assert isinstance(todo, Round)
        return todo


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
