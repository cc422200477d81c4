"""The user's own expert: a function, an object or a class, named as package.module:name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from distil import content
from distil.config import import_target
from distil.content import Content
from distil.errors import InputError, RunError
from distil.experts.base import Checked, Expert, every
from distil.experts.common import OneExpertConfig
from distil.types import Labels, Observations

if TYPE_CHECKING:
    from distil.envs import EnvConfig, EnvSpec
    from distil.spaces import SpaceSpec


class ImportExpertConfig(OneExpertConfig):
    """An expert of the user's own.

    A class is called with `kwargs` to make the expert; a function is the expert, with `kwargs` as further keyword arguments.
    It answers `act(observations)` (or is called with them) and may declare `needs_env = True` (then it also gets `envs=`) and
    `stateful = True` (then `begin(slot, seed)`, if it has one, tells it of each new episode, and row i is always slot i).
    Any other expert is given only the rows that want an answer, as many as there are: its answer to a row is that row's alone.
    """

    kind: Literal["import"] = "import"
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    version: int | str = ""  # part of its identity: change it when it answers differently though its source is the same

    def content(self, env: EnvConfig) -> Content:
        """Return what it is made of: the source of its module. `version` stands for what that doesn't show, such as files."""
        return content.of_target(self.target, "expert")

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert; InputError if the target is missing, can't be made or can't be called."""
        target = import_target(self.target, "expert")
        if isinstance(target, type):
            try:
                target = target(**self.kwargs)
            except TypeError as error:
                raise InputError(f"expert {self.target}: {error}; fix expert.kwargs") from None
        elif self.kwargs:
            target = _with_kwargs(target, self.kwargs)
        if not callable(getattr(target, "act", target)):
            raise InputError(f"expert {self.target}: neither callable nor with a method act; give it act(observations)")
        return Checked(ImportedExpert(self.target, target, spec.observation), spec.action)


def _with_kwargs(target: Any, kwargs: dict[str, Any]) -> Any:
    if not callable(target):
        raise InputError("expert.kwargs: the target is an object, which takes none; name its class instead")
    partial = functools.partial(target, **kwargs)
    vars(partial).update({key: getattr(target, key) for key in ("needs_env", "stateful") if hasattr(target, key)})
    return partial


class ImportedExpert:
    """Gives the user's expert batches in the environment's own structure: a dict of arrays [N, ...] for a Dict space.

    Args:
        name: for reports and errors.
        target: the user's callable or object.
        observation: the environment's observation space.
    """

    def __init__(self, name: str, target: Any, observation: SpaceSpec) -> None:
        self.name = name
        self.needs_env = bool(getattr(target, "needs_env", False))
        self.stateful = bool(getattr(target, "stateful", False))
        self.by_row = not self.stateful
        self._target, self._observation = target, observation
        self._act: Callable[..., Any] = getattr(target, "act", target)

    def begin(self, slot: int, seed: int) -> None:
        """Tell the user's expert, if it wants to know."""
        if hasattr(self._target, "begin"):
            self._target.begin(slot, seed)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the user's answers: an array of actions [N, ...], or `Labels` when only some are valid.

        Raises:
            RunError: the answer is no array, or the expert needs environments that this run can't show it.
        """
        batch = self._observation.unflatten({name: values.copy() for name, values in observations.items()})  # theirs to change
        if self.needs_env and envs is None:
            raise RunError(
                f"expert {self.name}: needs_env, but these environments can't be shown; use plain ones (no vector env)"
            )
        answer = self._act(batch, envs=envs) if self.needs_env else self._act(batch)
        if isinstance(answer, Labels):
            return Labels(actions=np.array(answer.actions), mask=np.array(answer.mask))
        self._check(answer, len(next(iter(observations.values()))))
        try:
            actions = np.array(answer)
        except ValueError:
            raise self._fault("rows of different shapes", "fix the expert") from None
        return Labels(actions=actions, mask=every(len(actions) if actions.ndim else 0))

    def _check(self, answer: Any, num: int) -> None:
        """Raise RunError for an answer that is no array of `num` actions but is known: it says how to fix it."""
        if answer is None or isinstance(answer, str | bytes | Mapping | Set):
            raise self._fault("None" if answer is None else f"a {type(answer).__name__}", "fix the expert")
        if not isinstance(answer, tuple) or len(answer) != 2:
            return
        first, second = (getattr(part, "shape", None) for part in answer)
        if first is not None and first[:1] == (num,) and (num != 2 or first != second):
            raise self._fault(
                "a pair, as predict does: (actions, state)", "return its first part, as in predict(observations)[0]"
            )

    def _fault(self, came: str, fix: str) -> RunError:
        return RunError(f"expert {self.name}: returned {came}, wanted one array of actions; {fix}")
