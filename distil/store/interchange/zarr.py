"""diffusion_policy's replay buffers (zarr; import only): arrays `data/KEY` of all episodes' steps, and `meta/episode_ends`.

They hold no rewards, no ends' kinds and no final observations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from distil.errors import InputError
from distil.spaces import SpaceSpec
from distil.store.interchange.base import Contents, WithoutFinalObservation
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
    as_uint8: tuple[str, ...] = ()  # images kept as floats that are whole numbers 0 to 255

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        buffer = Buffer(source)
        names = self._names(source, buffer.names)
        taken = [*names, *self.action_keys, *([self.reward] if self.reward else [])]
        arrays = {name: buffer.array(f"data/{name}") for name in taken}
        ends = np.asarray(buffer.array("meta/episode_ends")[:])
        shortest = min(array.shape[0] for array in arrays.values())
        starts = np.concatenate([[0], ends[:-1]]) if ends.ndim == 1 and ends.size else ends
        if ends.ndim != 1 or not ends.size or ends.dtype.kind not in "iu" or np.any(ends < starts) or ends[-1] > shortest:
            raise InputError(f"{source}: meta/episode_ends doesn't divide its {shortest} steps into episodes; is it whole?")
        spec = self._spec(names, arrays, ends)
        report(self.finding(str(source)))
        report(Finding(file=str(source), what="doesn't say how an episode ended: taken as truncated, not terminated"))
        if not self.reward:
            report(Finding(file=str(source), what="holds no rewards: they are 0 (reward=...)"))
        load = partial(self._episode, arrays, spec, f"zarr:{source.name}")
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        loaders = ((str(index), partial(load, first, end)) for index, (first, end) in enumerate(bounds))
        return Contents(spec=spec, episodes=loaders, stem=source.stem)

    def _names(self, source: Path, available: list[str]) -> tuple[str, ...]:
        names = self.observations or tuple(name for name in available if name not in (*self.action_keys, self.reward))
        for name in (*names, *self.as_uint8, *self.action_keys, *([self.reward] if self.reward else [])):
            if name not in available:
                has = ", ".join(available) or "none"
                raise InputError(f"{source}: no array data/{name}; there are {has} (set action=, observations=[...])")
        return names

    def _spec(self, names: tuple[str, ...], arrays: Mapping[str, Rows], ends: Array) -> StoreSpec:
        dtypes = {name: np.uint8 if name in self.as_uint8 else arrays[name].dtype for name in names}
        observation = observation_of({name: (arrays[name].shape[1:], dtypes[name]) for name in names})
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
