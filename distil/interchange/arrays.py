"""Files of named arrays: which array is what, by the names that are usual or those that the user gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.base import Contents, WithoutFinalObservation, require_keys
from distil.interchange.columns import by_number
from distil.interchange.episodes import BadEpisodeError, Finding, Report, join, said_of_joined
from distil.interchange.flat import Ends, FlatSteps, divide, nested_space
from distil.interchange.spaces import action_of
from distil.interchange.step_order import STEP_NAMES, first_back
from distil.store.schema import StoreSpec
from distil.success import SUCCESS_KEYS, success_of
from distil.types import Array, Episode

USUAL = {  # what an array is -> the usual names of it
    "action": ("action", "actions", "acts"),
    "reward": ("reward", "rewards", "rews"),
    "terminated": ("terminated", "terminateds", "terminations", "terminals", "terminal"),
    "truncated": ("truncated", "truncateds", "truncations", "timeouts", "timeout"),
    "done": ("done", "dones"),
    "episode_ends": ("episode_ends", "meta/episode_ends"),
    "episode_starts": ("episode_starts",),
}
_GROUPS = ("observations/", "observation/", "obs/", "data/")
_BESIDE = ("info", "meta", "next_", "episode_returns")  # beginnings of what isn't an observation


class Unreadable(str):
    """Why an array isn't read, in its place."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class _Names:
    """The arrays' names; "" for those that aren't there."""

    observations: Mapping[str, str]  # key in the space -> array
    actions: tuple[str, ...]
    usual: Mapping[str, str]  # of `USUAL`, but the action
    success: tuple[str, ...]


class ArraysImport(WithoutFinalObservation):
    """Options to read files of named arrays: all steps of a file's episodes, row after row.

    Episodes end where `episode_ends` says, or after each step that terminated, truncated (or `dones`) mark; without those
    each file is one. The names default to the usual ones (actions, rewards, terminals, timeouts and the like).
    """

    suffixes: ClassVar[tuple[str, ...]]
    action: str | tuple[str, ...] = ""
    reward: str = ""
    terminated: str = ""
    truncated: str = ""
    episode_ends: str = ""  # [E] one past each episode's last step
    done: Literal["terminated", "truncated"] = "terminated"  # what an array `dones` means, which can't say

    @abstractmethod
    def opened(self, file: Path) -> AbstractContextManager[Mapping[str, Any]]:
        """Return name -> array, what slices like one, or `Unreadable`, while the file is open."""

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        files = self._files(source)
        with self.opened(files[0]) as arrays:
            names = self._names(arrays, files[0], report)
            shapes = {key: (arrays[name].shape[1:], arrays[name].dtype) for key, name in names.observations.items()}
            self._say(self._steps(arrays, names, files[0]), arrays, names, source, len(files), report)
        spec = StoreSpec(observation=nested_space(shapes), action=action_of(self._actions(files, names)), infos=self.infos)
        return Contents(spec=spec, episodes=self._episodes(files, names, spec, report), stem=source.stem)

    def _files(self, source: Path) -> list[Path]:
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.suffix.lower() in self.suffixes]
        if not files:
            raise InputError(f"{source}: no {' or '.join(self.suffixes)} files there; check the path")
        return sorted(files, key=by_number)

    def _names(self, arrays: Mapping[str, Any], file: Path, report: Report) -> _Names:
        known = {name: _fault(array) for name, array in arrays.items()}
        usual = {what: self._usual(what, known, file) for what in USUAL}
        options = self if self.action else self.model_copy(update={"action": usual["action"] or "action"})
        success = tuple(name for name in SUCCESS_KEYS if name in known)
        taken = {*options.action_keys, *usual.values(), *success, *self.infos}
        rest = [name for name in known if name not in taken and not name.startswith(_BESIDE)]
        default = [name for name in rest if name.startswith(("obs", "state"))] or rest
        chosen = options.choose(known, default, file, report)
        require_keys(known, self.infos, file)
        if len(options.action_keys) > 1:
            report(Finding(file=str(file), what=said_of_joined({key: arrays[key].shape[1:] for key in options.action_keys})))
        keys = {name: _short(name) for name in chosen} if len(chosen) > 1 else {chosen[0]: ""}
        if len(set(keys.values())) < len(keys):
            keys = {name: name for name in chosen}
        observations = {key: name for name, key in keys.items()}
        return _Names(observations=observations, actions=options.action_keys, usual=usual, success=success)

    def _usual(self, what: str, known: Mapping[str, str], file: Path) -> str:
        """Return the name of an array: the option's, or the first usual one that is there, else ""."""
        given = getattr(self, what, "") if what not in ("action", "done") else ""
        require_keys(known, [given] if given else [], file)
        return given or next((name for name in USUAL[what] if not known.get(name, "no")), "")

    def _steps(self, arrays: Mapping[str, Any], names: _Names, file: Path) -> FlatSteps:
        """Return a file's steps; InputError names an array that contradicts the others."""
        wanted = (
            *names.observations.values(),
            *names.actions,
            *filter(None, names.usual.values()),
            *names.success,
            *self.infos,
        )
        if missing := sorted({name for name in wanted if name not in arrays}):
            raise InputError(f"{file}: has no {', '.join(missing)}, which the first file has")
        num = arrays[names.actions[0]].shape[0]
        ends = self._ends(arrays, names, num, file)
        following = {key: f"next_{name}" for key, name in names.observations.items()}
        steps = FlatSteps(
            observations={key: arrays[name] for key, name in names.observations.items()},
            actions={name: arrays[name] for name in names.actions},
            next_observations=(
                {key: arrays[name] for key, name in following.items()} if all(n in arrays for n in following.values()) else {}
            ),
            rewards=arrays[names.usual["reward"]] if names.usual["reward"] else None,
            success=_success({name: arrays[name] for name in names.success}, ends),
            infos={name: arrays[name] for name in self.infos},
            ends=ends,
            final=self.final_observation,
            labelled=self.demonstrations,
            source=f"{self.kind}:{file.name}"[:200],
            where=str(file),
        )
        steps.check()
        return steps

    def _ends(self, arrays: Mapping[str, Any], names: _Names, num: int, file: Path) -> Ends:
        flags = {what: np.asarray(arrays[name][:]) for what, name in names.usual.items() if name and what in _FLAGS}
        if "done" in flags:
            flags = _with_done(flags, self.done, names.usual["done"], file)
        ends = np.asarray(arrays[names.usual["episode_ends"]][:]) if names.usual["episode_ends"] else None
        if ends is None and names.usual["episode_starts"]:
            starts = np.asarray(arrays[names.usual["episode_starts"]][:]).reshape(-1)
            starts = np.flatnonzero(starts) if len(starts) == num and starts.dtype.kind in "bf" else starts
            ends = np.append(starts[starts > 0], num)
        return divide(num, ends=ends, terminated=flags.get("terminated"), truncated=flags.get("truncated"), where=str(file))

    def _say(
        self, steps: FlatSteps, arrays: Mapping[str, Any], names: _Names, source: Path, num_files: int, report: Report
    ) -> None:
        has = {what for what, name in names.usual.items() if name}
        said = []
        if not has & {"terminated", "truncated", "done"}:
            said.append("doesn't say how an episode ended: taken as truncated, not terminated")
        if "done" in has and not has & {"terminated", "truncated"}:
            said.append(f"{names.usual['done']} has one meaning: a 1 is read as {self.done} (done=...)")
        if not has & {"terminated", "truncated", "done", "episode_ends", "episode_starts"}:
            said.append("doesn't say where episodes end: each file is one (episode_ends=...)")
        elif (
            "terminated" in has
            and not has & {"truncated", "done", "episode_ends", "episode_starts"}
            and not steps.next_observations
        ):
            said.append("episodes are taken to end where they terminate only: it says of no limit (truncated=...)")
        if "reward" not in has:
            said.append("holds no rewards: they are 0 (reward=...)")
        for what in said:
            report(Finding(file=str(source), what=what))
        if steps.lacks_final:
            report(self.finding(str(source)))

    def _actions(self, files: Sequence[Path], names: _Names) -> Iterator[Array]:
        for file in files:
            with self.opened(file) as arrays:
                yield join({name: np.asarray(arrays[name][:]) for name in names.actions})

    def _episodes(
        self, files: Sequence[Path], names: _Names, spec: StoreSpec, report: Report
    ) -> Iterator[tuple[str, Callable[[], Episode]]]:
        for file in files:
            with self.opened(file) as arrays:
                try:
                    steps = self._steps(arrays, names, file)
                except InputError as error:
                    yield file.stem, partial(_fail, str(error).removeprefix(f"{file}: "), str(file))
                    continue
                _say_order(steps, arrays, file, report)
                many = len(steps.ends.ends) > 1
                for index, (_, load) in enumerate(steps.episodes(spec)):
                    yield (f"{file.stem}:{index}" if many and len(files) > 1 else str(index) if many else file.stem), load


_FLAGS = ("terminated", "truncated", "done")


def _with_done(flags: dict[str, Array], meaning: str, name: str, file: Path) -> dict[str, Array]:
    """Return the flags of both kinds of ends: `done` is the only one, with its `meaning`, or marks what the others leave.

    Raises:
        InputError: it contradicts the others.
    """
    done = flags.pop("done")
    if not flags:
        return {meaning: done}
    if any(other.shape != done.shape for other in flags.values()):
        return flags
    ends = np.any([other != 0 for other in flags.values()], axis=0)
    wrong = ends != (done != 0) if len(flags) > 1 else ends & (done == 0)
    if np.any(wrong):
        row = int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))
        raise InputError(
            f"{file}: {name} contradicts how episodes end (terminated, truncated) at row {row}; correct one of them"
        )
    other = "truncated" if "terminated" in flags else "terminated"
    return flags if len(flags) > 1 else flags | {other: np.where(ends, 0, done)}


def _say_order(steps: FlatSteps, arrays: Mapping[str, Any], file: Path, report: Report) -> None:
    """Report arrays that count or time the steps and don't increase within an episode."""
    num, starts = int(steps.ends.ends[-1]), steps.ends.starts
    for name in (name for name, array in arrays.items() if not _fault(array) and _short(name).lower() in STEP_NAMES):
        row = first_back(np.asarray(arrays[name][:]), starts) if arrays[name].shape[0] == num else None
        if row is not None:
            what = f"{name} goes back at row {row}, within an episode: rows are read in file order"
            report(Finding(file=str(file), what=what))


def _fail(what: str, file: str) -> Episode:
    raise BadEpisodeError(what, file=file)


def _short(name: str) -> str:
    return next((name.removeprefix(group) for group in _GROUPS if name.startswith(group)), name)


def _fault(array: Any) -> str:
    """Return why an array isn't read, or nothing."""
    if isinstance(array, Unreadable):
        return str(array)
    if array.dtype.kind in "biuf":
        return "" if array.shape else "a single number"
    return "text" if array.dtype.kind in "OSU" else str(array.dtype)


def _success(arrays: Mapping[str, Any], ends: Ends) -> Array | None:
    """Return [E] flags from arrays of one value an episode or a step, by each key's rule; None if there are none."""
    if not arrays:
        return None
    num, rows = len(ends.ends), {name: np.asarray(array[:]).reshape(-1) for name, array in arrays.items()}
    if all(len(values) == num for values in rows.values()):
        per_step = [[{name: values[i] for name, values in rows.items()}] for i in range(num)]
    elif all(len(values) == ends.ends[-1] for values in rows.values()):
        bounds = zip(ends.starts.tolist(), ends.ends.tolist(), strict=True)
        per_step = [[{name: values[t] for name, values in rows.items()} for t in range(a, b)] for a, b in bounds]
    else:
        sizes = ", ".join(f"{name} has {len(values)}" for name, values in rows.items())
        raise InputError(f"{sizes} values; give one an episode or one a step")
    return np.array([bool(success_of(infos)) for infos in per_step])
