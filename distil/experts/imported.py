"""The user's own expert: a function, an object or a class, named package.module:name."""

from __future__ import annotations

import functools
import inspect
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
    """The user's own expert.

    A class is called with `kwargs` to make the expert; a function is the expert, with `kwargs` as extra keyword arguments.
    The expert has a method `act(observations)` (or is callable). It may declare `needs_env = True` (then it also gets `envs=`)
    and `stateful = True` (then `begin(slot, seed)`, if it exists, announces each new episode, and row i is always slot i).
    An expert that is not stateful gets only the rows that need an action, in varying numbers: each action must depend only on
    its own row.
    """

    kind: Literal["import"] = "import"
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)
    version: int | str = ""  # part of its identity: change it when its behaviour changes but its source does not

    def content(self, env: EnvConfig) -> Content:
        """Return its content: the source of its module. `version` covers what the source does not show, such as files."""
        return content.of_target(self.target, "expert")

    def build(self, env: EnvConfig, spec: EnvSpec) -> Expert:
        """Return the expert; InputError if the target is missing, cannot be constructed or cannot be called."""
        target = import_target(self.target, "expert")
        if isinstance(target, type):
            target = self._made(target)
        elif self.kwargs:
            target = self._with_kwargs(target)
        if not callable(getattr(target, "act", target)):
            raise InputError(f"expert {self.target}: neither callable nor with a method act; give it act(observations)")
        return Checked(ImportedExpert(self.target, target, spec.observation), spec.action)

    def _made(self, cls: type) -> Any:
        try:
            return cls(**self.kwargs)
        except (InputError, RunError):
            raise
        except TypeError as error:
            raise InputError(f"expert {self.target}: {error}; fix expert.kwargs") from error
        except Exception as error:  # the user's own code
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"expert {self.target}: {cls.__name__}(...) raises {reason}; fix expert.kwargs or the class"
            ) from error

    def _with_kwargs(self, target: Any) -> Any:
        if not callable(target):
            raise InputError("expert.kwargs: the target is an object and takes no kwargs; name its class instead")
        partial = functools.partial(target, **self.kwargs)
        try:
            inspect.signature(target).bind_partial(**self.kwargs)
        except TypeError as error:
            raise InputError(f"expert {self.target}: {error}; fix expert.kwargs") from None
        except ValueError:  # a builtin that does not say what it takes
            pass
        vars(partial).update({key: getattr(target, key) for key in ("needs_env", "stateful") if hasattr(target, key)})
        return partial


class ImportedExpert:
    """Passes batches to the user's expert in the environment's own structure: a dict of arrays [N, ...] for a Dict space.

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
        """Call the `begin` of the user's expert, if it has one."""
        if hasattr(self._target, "begin"):
            self._target.begin(slot, seed)

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the actions of the user's expert: an array [N, ...], or `Labels` if only some are valid.

        Raises:
            RunError: the result is not an array, or the expert needs environments that this run cannot pass to it.
        """
        batch = self._observation.unflatten(
            {name: values.copy() for name, values in observations.items()}
        )  # it may modify them
        if self.needs_env and envs is None:
            raise RunError(f"expert {self.name}: needs_env, but vectorised environments cannot be passed to it; use plain ones")
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
        """Raise RunError for a result that is not an array of `num` actions; known mistakes get their own fix."""
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
        return RunError(f"expert {self.name}: returned {came}, expected one array of actions; {fix}")
