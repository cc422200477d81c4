"""One episode of a Minari dataset, from the arrays and metadata that Minari's storage returns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from distil.interchange.episodes import BadEpisodeError, Finding, Once, demonstration, fit, read_facts
from distil.interchange.minari_actions import Actions
from distil.store.schema import StoreSpec
from distil.success import SUCCESS_KEYS, success_of
from distil.types import Episode


def read_episode(
    data: Mapping[str, Any],
    about: Mapping[str, Any],
    index: int,
    *,
    spec: StoreSpec,
    actions: Actions,
    own: bool,
    source: str,
    labelled: bool,
    note: Once,
) -> Episode:
    """Return the episode at `index` of a dataset.

    Args:
        data: what Minari's storage returns for it: observations, actions, rewards, terminations, truncations, infos.
        about: its metadata.
        index: its position in the dataset.
        spec: of the episode.
        actions: how its actions are read.
        own: whether distil wrote the dataset.
        source: of the episode.
        labelled: whether its actions are labels.
        note: told once of each kind of problem.

    Raises:
        BadEpisodeError: it contradicts itself or `spec`.
    """
    num = len(data["rewards"])
    if int(about.get("total_steps", num)) != num:
        raise BadEpisodeError(f"has {num} steps where its metadata says {int(about['total_steps'])}")
    ends = {name: np.asarray(data[name]).astype(bool).reshape(-1) for name in ("terminations", "truncations")}
    for name, flags in ends.items():
        if len(flags) != num or np.any(flags[:-1]):
            raise BadEpisodeError(f"{name} is set before the last step", step=int(np.argmax(flags)))
    try:
        leaves = spec.observation.flatten(data["observations"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadEpisodeError(f"its observations don't have the space's keys ({error})") from None
    episode = demonstration(
        observations={leaf.name: fit(leaves[leaf.name], leaf, num + 1) for leaf in spec.observation.leaves},
        actions=fit(actions.read(data["actions"]), spec.action.leaf, num),
        rewards=np.asarray(data["rewards"], np.float64).reshape(-1),
        terminated=bool(num and ends["terminations"][-1]),
        truncated=bool(num and ends["truncations"][-1]),
        labelled=labelled,
        seed=_seed(about, index, source, note),
        source=source,
        success=_success(data.get("infos") or {}, num),
        infos=_infos(data.get("infos") or {}, spec.infos, num) if spec.infos and not own else None,
    )
    return _with_own(episode, data["infos"], about, spec) if own else episode


def _seed(about: Mapping[str, Any], index: int, source: str, note: Once) -> int:
    """Return an episode's seed; 0, and a note, for those of Minari's own that are too large for a store."""
    seed = int(about.get("seed") or 0)
    if -(1 << 63) <= seed < 1 << 63:
        return seed
    what = f"its seed {seed} is above the largest that a store holds, 2**63 - 1: such seeds are left out"
    note(Finding(file=source, episode=f"episode_{index}", what=what))
    return 0


def _infos(infos: Mapping[str, Any], names: tuple[str, ...], num: int) -> tuple[str, ...]:
    """Return each step's chosen infos as JSON."""
    for name in names:
        if name not in infos:
            raise BadEpisodeError(f"has no infos {name!r}; there are {', '.join(sorted(infos)) or 'none'}")
    rows = {name: _info_rows(infos[name], name, num) for name in names}
    return tuple(json.dumps({name: _plain(rows[name][t]) for name in names}) for t in range(num))


def _info_rows(rows: Any, name: str, num: int) -> Any:
    """Return an info's row of each step. Minari's first row is the reset's, unless the reset had no such key."""
    if isinstance(rows, Mapping):
        raise BadEpisodeError(f"its infos {name!r} are a group ({', '.join(rows)}), not one value a step")
    if len(rows) not in (num, num + 1):
        raise BadEpisodeError(f"its infos {name!r} aren't one value a step")
    return rows[1:] if len(rows) == num + 1 else rows


def _success(infos: Mapping[str, Any], num: int) -> bool | None:
    values = {name: infos[name] for name in SUCCESS_KEYS if name in infos and not isinstance(infos[name], Mapping)}
    rows = {name: _info_rows(value, name, num) for name, value in values.items() if len(value) in (num, num + 1)}
    return success_of([{name: row[step] for name, row in rows.items()} for step in range(num)])


def _plain(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else np.asarray(value).tolist()


def _with_own(episode: Episode, infos: Mapping[str, Any], about: Mapping[str, Any], spec: StoreSpec) -> Episode:
    """Return the episode with the fields that `MinariExport` added to Minari's."""
    try:
        num, texts = episode.length, [_text(text) for text in infos["distil_infos"][:-1]] if spec.infos else None
        extra = {"infos": tuple(texts)} if texts is not None else {}
        names = ("actions", "expert_actions") if "distil_actions" in infos else ("expert_actions",)
        stored = {name: np.asarray(infos[f"distil_{name}"])[:-1] for name in names}
        marks = {name: np.asarray(infos[f"distil_{name}"], np.uint8)[:-1] for name in ("labelled", "acted_by_expert")}
        arrays = {name: fit(rows, spec.action.leaf, num) for name, rows in stored.items()}
        return Episode(**(vars(episode) | arrays | marks | extra | read_facts(json.loads(about["distil"]))))
    except (KeyError, ValueError, TypeError) as error:
        raise BadEpisodeError(f"the data that distil added is damaged ({error})") from None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
