"""diffusion_policy's replay buffers (zarr; import only): arrays `data/KEY` of all episodes' steps, and `meta/episode_ends`.

They seldom hold rewards or how an episode ended, and no final observations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.interchange.arrays import USUAL
from distil.interchange.base import Contents, WithoutFinalObservation, require_keys
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    demonstration,
    fit,
    join,
    last_flag,
    said_of_joined,
    success_in,
)
from distil.interchange.spaces import action_of, observation_of
from distil.interchange.step_order import STEP_NAMES, first_back
from distil.interchange.zarr_buffer import Buffer, Rows
from distil.spaces import SpaceSpec
from distil.store.schema import StoreSpec
from distil.success import SUCCESS_KEYS
from distil.types import Array, Episode


class ZarrImport(WithoutFinalObservation):
    """Options to read a replay buffer: a folder, or the zip of one (`.zarr.zip`). Arrays of groups are `GROUP/NAME`.

    Rewards, success and flags of the ends are taken where arrays of the usual names hold them, and aren't observations.
    """

    summary: ClassVar[str] = "diffusion_policy's replay buffer (zarr folder or zip)"
    kind: Literal["zarr"] = "zarr"
    reward: str = ""  # name of the rewards' array; default: a usual one, else rewards are 0
    done: Literal["terminated", "truncated"] = "terminated"  # what an array "done" means, which can't say

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        buffer = Buffer(source)
        known = {name: buffer.fault(f"data/{name}") for name in buffer.names}
        usual = self._usual(known, source)
        names = self._names(source, known, usual, report)
        arrays = {name: buffer.array(f"data/{name}") for name in (*names, *self.action_keys, *usual.values())}
        ends = self._ends(source, buffer, arrays, names, report)
        spec = self._spec(names, arrays, ends)
        if len(self.action_keys) > 1:
            report(Finding(file=str(source), what=said_of_joined({key: arrays[key].shape[1:] for key in self.action_keys})))
        for what in (self.finding("").what, *self._said(usual), *_said_of_order(known, arrays, buffer, ends)):
            report(Finding(file=str(source), what=what))
        load = partial(self._episode, arrays, spec, usual, f"zarr:{source.name}")
        bounds = pairwise([0, *ends.tolist()])
        loaders = ((str(index), partial(load, first, end)) for index, (first, end) in enumerate(bounds))
        return Contents(spec=spec, episodes=loaders, stem=source.stem)

    def _usual(self, known: Mapping[str, str], source: Path) -> dict[str, str]:
        """Return what it is -> array, of rewards, flags of the ends and success."""
        require_keys(known, [self.reward] if self.reward else [], source)
        wanted = {what: USUAL[what] for what in ("reward", "terminated", "truncated", "done")} | {"success": SUCCESS_KEYS}
        wanted |= {"reward": (self.reward,)} if self.reward else {}
        chosen = {*self.observations, *self.action_keys}
        found = {
            what: [name for name in names if known.get(name) == "" and name not in chosen] for what, names in wanted.items()
        }
        return {what: names[0] for what, names in found.items() if names}

    def _said(self, usual: Mapping[str, str]) -> Iterator[str]:
        if "terminated" not in usual and "truncated" not in usual:
            if "done" in usual:
                yield f"data/{usual['done']} has one meaning: a 1 is read as {self.done} (done=...)"
            else:
                yield "doesn't say how an episode ended: taken as truncated, not terminated"
        if "reward" not in usual:
            yield "holds no rewards: they are 0 (reward=...)"

    def _names(self, source: Path, known: Mapping[str, str], usual: Mapping[str, str], report: Report) -> tuple[str, ...]:
        others = {*self.action_keys, *usual.values()}
        return self.choose(known, [name for name in known if name not in others], source, report)

    def _ends(self, source: Path, buffer: Buffer, arrays: Mapping[str, Rows], names: tuple[str, ...], report: Report) -> Array:
        """Return one past each episode's last row, [E]; InputError names the array that contradicts the others."""
        try:
            ends = np.asarray(buffer.array("meta/episode_ends")[:])
        except BadEpisodeError as bad:
            raise InputError(f"{source}: {bad.what}; restore it from a copy") from None
        if ends.ndim != 1 or not ends.size or ends.dtype.kind not in "iu":
            raise InputError(f"{source}: meta/episode_ends is {ends.dtype} {list(ends.shape)}, not a list of whole numbers")
        starts = np.concatenate([[0], ends[:-1]])
        if np.any(ends <= starts):
            at = int(np.argmax(ends <= starts))
            raise InputError(f"{source}: meta/episode_ends doesn't increase: number {at} is {ends[at]} after {starts[at]}")
        rows = {name: array.shape[0] for name, array in arrays.items()}
        short = {name: num for name, num in rows.items() if num < ends[-1]}
        if len(short) == len(rows):
            raise InputError(
                f"{source}: meta/episode_ends goes to row {ends[-1]}, the data to {max(rows.values())}; is it complete?"
            )
        for name, num in short.items():
            fix = "it holds no row a step, so leave it out: observations=[...]" if name in names else "restore it from a copy"
            raise InputError(f"{source}: data/{name} has {num} rows, where the episodes have {ends[-1]}; {fix}")
        if max(rows.values()) > ends[-1]:
            more = max(rows.values()) - int(ends[-1])
            report(Finding(file=str(source), what=f"{more} rows after the last episode's end are left out"))
        return ends

    def _spec(self, names: tuple[str, ...], arrays: Mapping[str, Rows], ends: Array) -> StoreSpec:
        observation = observation_of({name: (arrays[name].shape[1:], arrays[name].dtype) for name in names})
        action: SpaceSpec = action_of([self._actions(arrays, 0, int(ends[-1]))])
        return StoreSpec(observation=observation, action=action)

    def _actions(self, arrays: Mapping[str, Rows], first: int, end: int) -> Array:
        return join({name: arrays[name][first:end] for name in self.action_keys})

    def _episode(
        self, arrays: Mapping[str, Rows], spec: StoreSpec, usual: Mapping[str, str], source: str, first: int, end: int
    ) -> Episode:
        rows = {leaf.name: arrays[leaf.name.removeprefix("obs/")] for leaf in spec.observation.leaves}
        num = end - first
        observations = {leaf.name: fit(rows[leaf.name][first:end], leaf, num) for leaf in spec.observation.leaves}
        actions = fit(self._actions(arrays, first, end), spec.action.leaf, num)
        found = {what: arrays[name][first:end] for what, name in usual.items()}
        rewards = np.asarray(found.get("reward", np.zeros(num)), np.float64)
        if rewards.size != num:
            raise BadEpisodeError(f"{usual['reward']} isn't one number a step but {list(rewards.shape)}")
        over = {
            what: last_flag(found[what], usual[what], "step") for what in ("terminated", "truncated", "done") if what in found
        }
        if not over.keys() & {"terminated", "truncated"}:
            over[self.done] = over.get("done", False)
        observations, kept = self.ended(observations, num)
        terminated = over.get("terminated", False) and kept == num
        return demonstration(
            observations=observations,
            actions=actions[:kept],
            rewards=rewards.reshape(-1)[:kept],
            terminated=terminated,
            truncated=not terminated or over.get("truncated", False),
            labelled=self.demonstrations,
            source=source,
            success=success_in(found["success"], usual["success"]) if "success" in found else None,
        )


def _said_of_order(known: Mapping[str, str], arrays: Mapping[str, Rows], buffer: Buffer, ends: Array) -> Iterator[str]:
    """Yield what to report of arrays that count or time the steps and don't increase within an episode."""
    for name in (name for name, fault in known.items() if not fault and name.lower() in STEP_NAMES):
        array = arrays[name] if name in arrays else buffer.array(f"data/{name}")
        row = first_back(array[: ends[-1]], np.concatenate([[0], ends[:-1]])) if array.shape[0] >= ends[-1] else None
        if row is not None:
            yield f"data/{name} goes back at row {row}, within an episode: rows are read in file order"
