"""diffusion_policy's replay buffers (zarr; import only): arrays `data/KEY` of all episodes' steps, and `meta/episode_ends`.

They hold no rewards, no ends' kinds and no final observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.spaces import SpaceSpec
from distil.store.interchange.base import Contents, WithoutFinalObservation, require_keys
from distil.store.interchange.episodes import BadEpisodeError, Finding, Report, demonstration, fit, join
from distil.store.interchange.spaces import action_of, observation_of
from distil.store.interchange.zarr_buffer import Buffer, Rows
from distil.store.schema import StoreSpec
from distil.types import Array, Episode


class ZarrImport(WithoutFinalObservation):
    """Options to read a replay buffer: a folder, or the zip of one (`.zarr.zip`)."""

    summary: ClassVar[str] = "diffusion_policy's replay buffer (zarr folder or zip)"
    kind: Literal["zarr"] = "zarr"
    reward: str = ""  # name of the rewards' array; none: rewards are 0

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        buffer = Buffer(source)
        names = self._names(source, buffer, report)
        taken = [*names, *self.action_keys, *([self.reward] if self.reward else [])]
        arrays = {name: buffer.array(f"data/{name}") for name in taken}
        ends = self._ends(source, buffer, arrays, report)
        spec = self._spec(names, arrays, ends)
        report(self.finding(str(source)))
        report(Finding(file=str(source), what="doesn't say how an episode ended: taken as truncated, not terminated"))
        if not self.reward:
            report(Finding(file=str(source), what="holds no rewards: they are 0 (reward=...)"))
        load = partial(self._episode, arrays, spec, f"zarr:{source.name}")
        bounds = pairwise([0, *ends.tolist()])
        loaders = ((str(index), partial(load, first, end)) for index, (first, end) in enumerate(bounds))
        return Contents(spec=spec, episodes=loaders, stem=source.stem)

    def _names(self, source: Path, buffer: Buffer, report: Report) -> tuple[str, ...]:
        known = {name: buffer.fault(f"data/{name}") for name in buffer.names}
        require_keys(known, [self.reward] if self.reward else [], source)
        return self.choose(known, [name for name in known if name not in (*self.action_keys, self.reward)], source, report)

    def _ends(self, source: Path, buffer: Buffer, arrays: Mapping[str, Rows], report: Report) -> Array:
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
                f"{source}: meta/episode_ends goes to row {ends[-1]}, the data to {max(rows.values())}; is it whole?"
            )
        for name, num in short.items():
            fix = "it holds no row a step, so leave it out: observations=[...]"
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

    def _episode(self, arrays: Mapping[str, Rows], spec: StoreSpec, source: str, first: int, end: int) -> Episode:
        rows = {leaf.name: arrays[leaf.name.removeprefix("obs/")] for leaf in spec.observation.leaves}
        num = end - first
        observations = {leaf.name: fit(rows[leaf.name][first:end], leaf, num) for leaf in spec.observation.leaves}
        actions = fit(self._actions(arrays, first, end), spec.action.leaf, num)
        rewards = np.asarray(arrays[self.reward][first:end], np.float64) if self.reward else np.zeros(num)
        if rewards.size != num:
            raise BadEpisodeError(f"{self.reward} isn't one number a step but {list(rewards.shape)}")
        observations, kept = self.ended(observations, num)
        return demonstration(
            observations=observations,
            actions=actions[:kept],
            rewards=rewards.reshape(-1)[:kept],
            terminated=False,
            truncated=True,
            labelled=self.demonstrations,
            source=source,
        )
