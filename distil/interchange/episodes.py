"""Episodes from other formats: made, checked, identified. What is wrong with one is said with file, episode and step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash

from distil.errors import InputError, RunError
from distil.spaces import Leaf
from distil.store.schema import MAX_UID_LENGTH, StoreSpec
from distil.success import success_of
from distil.types import Array, Episode

_FACTS = ("uid", "seed", "round", "policy_version", "source", "success")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about the data that the user should know: a bad row, or what one of the two formats can't say."""

    file: str
    what: str
    episode: str = ""  # as the source names it; empty: it holds for the whole file
    step: int | None = None
    skipped: bool = False  # the episode was left out

    def __str__(self) -> str:
        where = f": episode {self.episode}" * bool(self.episode) + f", step {self.step}" * (self.step is not None)
        return f"{self.file}{where}: {self.what}"


Report = Callable[[Finding], None]


class Once:
    """Reports its first finding only."""

    def __init__(self, report: Report) -> None:
        """Hand it to `report`."""
        self._report, self._told = report, False

    def __call__(self, finding: Finding) -> None:
        """Report it, if it's the first."""
        if not self._told:
            self._report(finding)
        self._told = True


class BadEpisodeError(Exception):
    """An episode can't be taken; `sift` says where, and stops or skips. Never leaves an importer."""

    def __init__(self, what: str, *, step: int | None = None, file: str = "") -> None:
        """Say what is wrong, at which step, and in which file when `sift` can't know."""
        super().__init__(what)
        self.what, self.step, self.file = what, step, file


def demonstration(
    *,
    observations: Mapping[str, Array],
    actions: Array,
    rewards: Array,
    terminated: bool,
    truncated: bool,
    labelled: bool = True,
    **facts: Any,
) -> Episode:
    """Return an episode that one actor acted: the expert when `labelled`, else nobody known. `facts`: other fields."""
    marks = np.full(len(rewards), labelled, np.uint8)
    return Episode(
        observations=observations,
        actions=actions,
        rewards=np.asarray(rewards, np.float64),
        terminated=terminated,
        truncated=truncated,
        expert_actions=actions if labelled else np.zeros_like(actions),
        labelled=marks,
        acted_by_expert=marks,
        **facts,
    )


def fit(values: Any, leaf: Leaf, num_rows: int) -> Array:
    """Return `values` as [num_rows, *leaf.shape] of the leaf's type.

    Floats may be rounded to a shorter float; any other change of a value is a BadEpisodeError.
    """
    array = np.asarray(values)
    wanted = (num_rows, *leaf.shape)
    if array.dtype.kind not in "biuf":
        raise BadEpisodeError(f"{leaf.name} isn't numbers but {array.dtype}")
    if array.shape != wanted and not (array.size == np.prod(wanted) and array.shape[:1] == wanted[:1]):
        raise BadEpisodeError(f"{leaf.name} is {list(array.shape)}, should be {list(wanted)}")
    array = array.reshape(wanted)
    dtype = np.dtype(leaf.dtype)
    if array.dtype == dtype:
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype)
        changed = np.zeros(len(array), bool) if array.dtype.kind == dtype.kind == "f" else _rows_differ(cast, array)
    if np.any(changed):
        raise BadEpisodeError(f"{leaf.name} holds values that {dtype} can't", step=int(np.argmax(changed)))
    return cast


def join(parts: Mapping[str, Array]) -> Array:
    """Return the action of one key as it is, of several as [T, D]: each flattened and joined in order, without rounding.

    Raises:
        BadEpisodeError: the keys have different numbers of steps, or one type can't hold all of their values.
    """
    arrays = list(parts.values())
    if len(arrays) == 1:
        return arrays[0]
    if len({len(array) for array in arrays}) > 1:
        sizes = ", ".join(f"{len(array)} in {name}" for name, array in parts.items())
        raise BadEpisodeError(f"the action's keys have different numbers of steps: {sizes}")
    floats = [array.dtype for array in arrays if array.dtype.kind == "f"]
    dtype = np.result_type(*(floats or [array.dtype for array in arrays]))
    leaves = {name: Leaf(name=name, kind="box", shape=rows.shape[1:], dtype=dtype.name) for name, rows in parts.items()}
    num = len(arrays[0])
    columns = [fit(rows, leaves[name], num).reshape(num, int(np.prod(rows.shape[1:]))) for name, rows in parts.items()]
    return np.concatenate(columns, axis=1)


def flags(values: Array, name: str) -> Array:
    """Return one flag a step as bool [T]; BadEpisodeError where it is neither 0 nor 1 (NaN, for one)."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] != 1:
        raise BadEpisodeError(f"{name} isn't one flag a step but {list(values.shape[1:])}")
    right = (rows[:, 0] == 0) | (rows[:, 0] == 1)
    if not np.all(right):
        raise BadEpisodeError(f"{name} is {rows[np.argmin(right), 0]}, neither 0 nor 1", step=int(np.argmin(right)))
    return rows[:, 0].astype(bool)


def last_flag(values: Array, name: str, row: str = "row") -> bool:
    """Return the flag of an episode's last step; BadEpisodeError if an earlier one is set: it would end there."""
    found = flags(values, name)
    if np.any(found[:-1]):
        raise BadEpisodeError(f"{name} before its last {row}", step=int(np.argmax(found)))
    return bool(found[-1])


def success_in(values: Array, name: str) -> bool | None:
    """Return what a column says of success, by the rule of `distil.success`; None where no step says anything (NaN)."""
    known = values
    if values.size and values.dtype.kind == "f":
        known = values[~np.isnan(values.reshape(len(values), -1)).any(axis=1)]
    key = "is_success" if name.endswith("is_success") else "success"
    return success_of([{key: bool(said)} for said in flags(known, name)]) if len(known) else None


def said_of_joined(parts: Mapping[str, tuple[int, ...]]) -> str:
    """Return what to report of an action that `join` makes: key -> shape of a step's part."""
    sizes = (f"{name} ({int(np.prod(shape))})" for name, shape in parts.items())
    return f"its actions are these keys joined in this order: {', '.join(sizes)}"


def _rows_differ(left: Array, right: Array) -> Array:
    differ: Array = np.any((left != right).reshape(len(left), -1), axis=1)
    return differ


def check_episode(spec: StoreSpec, episode: Episode) -> None:
    """Raise BadEpisodeError for an episode that no learner should see: wrong sizes, NaN, a choice that doesn't exist."""
    num = episode.length
    if num < 1:
        raise BadEpisodeError("has no actions")
    action, every = spec.action.leaf, np.ones(num + 1, bool)
    parts = [(leaf, episode.observations[leaf.name], every) for leaf in spec.observation.leaves]
    parts += [(action, episode.actions, every[:num]), (action, episode.expert_actions, episode.labelled.astype(bool))]
    for leaf, rows, counts in parts:
        wanted = (len(counts), *leaf.shape)
        if rows.shape != wanted or rows.dtype != np.dtype(leaf.dtype):
            raise BadEpisodeError(f"{leaf.name} is {rows.dtype} {list(rows.shape)}, should be {leaf.dtype} {list(wanted)}")
        bad = _bad_rows(leaf, rows) & counts
        if np.any(bad):
            what = "NaN or infinite" if leaf.kind == "box" else f"not one of its {', '.join(map(str, leaf.nvec[:4]))} choices"
            raise BadEpisodeError(f"{leaf.name} is {what}", step=int(np.argmax(bad)))
    if not np.all(np.isfinite(episode.rewards)):
        raise BadEpisodeError("reward is NaN or infinite", step=int(np.argmin(np.isfinite(episode.rewards))))


def _bad_rows(leaf: Leaf, rows: Array) -> Array:
    if leaf.kind == "box":
        bad = ~np.isfinite(rows) if rows.dtype.kind == "f" else np.zeros(rows.shape, bool)
    else:
        bad = (rows < leaf.start) | (rows >= leaf.start + np.reshape(leaf.nvec, leaf.shape))
    rowwise: Array = np.any(bad.reshape(len(rows), -1), axis=1)
    return rowwise


def sift(
    loaders: Iterable[tuple[str, Callable[[], Episode]]],
    *,
    spec: StoreSpec,
    file: str,
    stem: str,
    skip_bad: bool,
    report: Report,
    convert: Callable[[str, Episode], Episode] = lambda _, episode: episode,
) -> Iterator[Episode]:
    """Yield the episodes that `loaders` (the source's name of it, what reads it) return, checked, converted, each with a uid.

    An episode without a uid gets one from `stem`, its position and its content before `convert`: importing the same data
    twice adds nothing, and data of one name but other content doesn't collide. This is the boundary to foreign data: any
    exception while it is read becomes one line with file, episode and step.

    Raises:
        RunError: an episode can't be taken, unless `skip_bad`; or no further episodes can be read.
    """
    for index, (name, load) in enumerate(_guarded(loaders, file)):
        try:
            episode = load()
            check_episode(spec, episode)
            if not episode.uid:
                episode = replace(episode, uid=f"{_slug(stem)}-{index:08d}-{content_digest(episode)[:12]}")
            episode = convert(name, episode)
        except (InputError, RunError):
            raise
        except Exception as error:  # foreign data: any kind
            bad = error if isinstance(error, BadEpisodeError) else BadEpisodeError(f"can't be read: {one_line(error)}")
            finding = Finding(file=bad.file or file, episode=name, step=bad.step, what=bad.what, skipped=skip_bad)
            if not skip_bad:
                raise RunError(f"{finding}; fix the data, or leave such episodes out with --skip-bad") from error
            report(finding)
            continue
        yield episode


def _guarded(loaders: Iterable[tuple[str, Callable[[], Episode]]], file: str) -> Iterator[tuple[str, Callable[[], Episode]]]:
    """Yield from `loaders`; what it raises while it looks for the next episode is a RunError."""
    iterator, after = iter(loaders), "the first episode can't be found"
    while True:
        try:
            item = next(iterator, None)
        except (InputError, RunError):
            raise
        except Exception as error:  # foreign data: any kind
            bad = error if isinstance(error, BadEpisodeError) else None
            raise RunError(f"{(bad and bad.file) or file}: {after}: {one_line(error)}; restore it from a copy") from error
        if item is None:
            return
        yield item
        after = f"what comes after episode {item[0]} can't be read"


@contextmanager
def opening(kind: str, source: object) -> Iterator[None]:
    """Turn anything that is raised while foreign data are opened into one InputError line that names them."""
    try:
        yield
    except InputError as error:
        if str(source) in str(error):
            raise
        raise InputError(f"{source}: {error}") from error
    except RunError:
        raise
    except Exception as error:  # foreign data: any kind
        raise InputError(f"{source}: can't be read as {kind}: {one_line(error)}; check the format and the path") from error


def one_line(error: Exception) -> str:
    """Return an error's text as one line; with its type where the text alone doesn't say what happened."""
    text = " ".join(str(error).split())[:300]
    if text and isinstance(error, OSError | ValueError | BadEpisodeError) and not isinstance(error, UnicodeError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[: MAX_UID_LENGTH - 40] or "episode"


def content_digest(episode: Episode) -> str:
    """Return a hash of everything in the episode but its uid, in hex."""
    digest = xxhash.xxh3_128(json.dumps(facts(episode) | {"uid": ""}, sort_keys=True).encode())
    ends = np.array([episode.terminated, episode.truncated], np.uint8)
    arrays = [*(episode.observations[name] for name in sorted(episode.observations)), episode.actions, episode.rewards]
    for array in [*arrays, episode.expert_actions, episode.labelled, episode.acted_by_expert, ends]:
        digest.update(str((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    digest.update("\n".join(episode.infos or ()).encode())
    return digest.hexdigest()


def facts(episode: Episode) -> dict[str, Any]:
    """Return what formats have no field for, as JSON data: uid, seed, round, policy version, source, success."""
    return {name: getattr(episode, name) for name in _FACTS}


def read_facts(data: Any) -> dict[str, Any]:
    """Return `facts` as fields of an Episode; BadEpisodeError if it isn't what `facts` made."""
    kinds: dict[str, tuple[type, ...]] = {"uid": (str,), "source": (str,), "success": (bool, type(None))}
    if not isinstance(data, dict) or any(type(data.get(name)) not in kinds.get(name, (int,)) for name in _FACTS):
        raise BadEpisodeError("its distil facts are damaged")
    return {name: data[name] for name in _FACTS}
