"""Minari datasets, written through the minari package to any of its storages: HDF5, Arrow or Parquet."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np

from distil.errors import InputError
from distil.interchange.base import Exporter, fresh, require
from distil.interchange.episodes import Report, facts
from distil.interchange.spaces import gym_space
from distil.store.schema import StoreSpec
from distil.store.snapshot import Snapshot
from distil.types import Array, Episode

ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+")


class MinariExport(Exporter):
    """Options to write a Minari dataset folder; `minari.load_dataset(id)` finds it below MINARI_DATASETS_PATH."""

    summary: ClassVar[str] = "Minari dataset folder"
    kind: Literal["minari"] = "minari"
    storage: Literal["hdf5", "arrow", "parquet"] = "hdf5"
    dataset_id: str = ""  # default: the target's name, with -v0 if it has no version

    def write(self, snapshot: Snapshot, target: Path, *, report: Report) -> None:
        """See `Exporter.write`."""
        minari = require("minari", "minari")
        storage_module = require("minari.dataset.minari_storage", "minari")
        buffer = require("minari.data_collector.episode_buffer", "minari").EpisodeBuffer
        own = target.absolute().name
        name = self.dataset_id or (own if ID.fullmatch(own) else f"{own}-v0")
        if not ID.fullmatch(name):
            raise InputError(f"dataset_id {name!r}: write it as (namespace/)name-v0, of letters, digits, '-' and '_'")
        spec = snapshot.spec
        with fresh(target) as part:
            (part / "data").mkdir(parents=True)
            storage = storage_module.MinariStorage.new(
                part / "data",
                observation_space=gym_space(spec.observation),
                action_space=gym_space(spec.action),
                env_spec=_env_spec(spec.env),
                data_format=self.storage,
                jpeg_encoding=False,
            )
            whole = {"dataset_id": name, "minari_version": minari.__version__, "distil": json.dumps(spec.to_json())}
            storage.update_metadata(whole)
            episodes = (snapshot.episode(index) for index in range(snapshot.num_episodes))
            storage.update_episodes(self._buffer(buffer, spec, episode) for episode in episodes)
            about = [{"distil": json.dumps(facts(snapshot.episode(i)))} for i in range(snapshot.num_episodes)]
            storage.update_episode_metadata(about)

    def _buffer(self, make: Callable[..., Any], spec: StoreSpec, episode: Episode) -> Any:
        num = episode.length
        last = np.zeros(num, bool)
        ends = {}
        for name, flag in (("terminations", episode.terminated), ("truncations", episode.truncated)):
            ends[name] = last.copy()
            ends[name][-1] = flag
        infos: dict[str, Any] = {
            "distil_expert_actions": _padded(episode.expert_actions),
            "distil_labelled": [*episode.labelled.tolist(), 0],
            "distil_acted_by_expert": [*episode.acted_by_expert.tolist(), 0],
        }
        if self.actions == "expert":
            infos["distil_actions"] = _padded(episode.actions)
        if spec.infos:
            infos["distil_infos"] = [*(episode.infos or ()), ""]
        return make(
            seed=episode.seed,
            observations=spec.observation.unflatten(episode.observations),
            actions=self.chosen_actions(episode),
            rewards=episode.rewards,
            infos=infos,
            **ends,
        )


def _padded(actions: Array) -> Any:
    rows = np.concatenate([actions, np.zeros_like(actions[:1])])
    return rows if rows.ndim > 1 else rows.tolist()  # minari's Arrow storage can't read arrays of one dimension back


def _env_spec(env: Mapping[str, Any]) -> Any:
    """Return Gymnasium's spec of the environment where its id is registered here, without wrappers of the user's own."""
    if not env.get("id") or env.get("wrappers"):
        return None
    try:
        spec = copy.deepcopy(gymnasium.spec(str(env["id"])))
    except gymnasium.error.Error:
        return None
    spec.kwargs.update(env.get("kwargs") or {})
    return spec
