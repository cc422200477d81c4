"""RLDS datasets as TensorFlow Datasets keeps them (TFRecord files, features.json), read and written without TensorFlow.

An episode is its `steps`; a step holds an observation, the action taken there and its reward. The last step has only its
observation: what else it holds isn't valid. `is_terminal` there says that the task ended; otherwise the episode was cut.
(Ramos et al., "RLDS: an ecosystem to generate, share and use datasets in reinforcement learning", 2021.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.config import nearest
from distil.errors import InputError
from distil.spaces import SpaceSpec
from distil.store.interchange.base import Contents, WithoutFinalObservation
from distil.store.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    demonstration,
    fit,
    join,
    read_facts,
    said_of_joined,
)
from distil.store.interchange.rlds_features import Kind, read_kinds
from distil.store.interchange.spaces import action_of, leaf_of, observation_of
from distil.store.interchange.tfrecord import Feature, parse_example, records
from distil.store.schema import StoreSpec, spec_from_json
from distil.types import Array, Episode

_MARKS = ("labelled", "acted_by_expert")


class RldsImport(WithoutFinalObservation):
    """Reads an RLDS dataset: the folder with features.json. Keys are paths such as `observation/image`."""

    summary: ClassVar[str] = "RLDS dataset folder of TensorFlow Datasets: TFRecord"
    kind: Literal["rlds"] = "rlds"
    split: str = "train"
    last_step: Literal["observation", "transition"] = "observation"  # transition: its action is valid, against RLDS's rule

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        kinds = read_kinds(source)
        files = sorted(source.glob(f"*-{self.split}.tfrecord-*"))
        if not files:
            others = sorted({file.name.rsplit("-", 4)[-4] for file in source.glob("*.tfrecord-*-of-*")})
            has = (
                f"its splits are {', '.join(others)}"
                if others
                else "it has no TFRecord files; prepare it with file_format=tfrecord"
            )
            raise InputError(f"{source}: no split {self.split!r}; {has}")
        own = (source / "distil.json").is_file()
        if own:
            spec = spec_from_json(json.loads((source / "distil.json").read_bytes()), str(source / "distil.json"))
            names = {leaf.name: leaf.name.replace("obs", "observation", 1) for leaf in spec.observation.leaves}
        else:
            names = self._choose(kinds, source, report)
            spec = self._spec(kinds, names, files)
            if self.last_step == "transition":
                report(self.finding(str(source)))
        load = partial(_load, self, spec, kinds, names, own)
        loaders = self._loaders(files, load)
        return Contents(spec=spec, episodes=loaders, stem=source.name)

    def _loaders(self, files: list[Path], load: Callable[..., Episode]) -> Iterator[tuple[str, Callable[[], Episode]]]:
        number = 0
        for file in files:
            for data in records(file):
                yield str(number), partial(load, file, data)
                number += 1

    def _choose(self, kinds: Mapping[str, Kind], source: Path, report: Report) -> dict[str, str]:
        known = {name: "" if kind.what in ("tensor", "image") else kind.what for name, kind in kinds.items()}
        chosen = self.choose(known, [name for name in known if name.split("/")[0] == "observation"], source, report)
        for name in self.infos:
            if name not in kinds:
                raise InputError(f"{source}: no key {name!r} in its steps for infos{nearest(name, list(kinds))}")
        if len(self.action_keys) > 1:
            report(Finding(file=str(source), what=said_of_joined({key: kinds[key].shape for key in self.action_keys})))
        return {"obs": chosen[0]} if len(chosen) == 1 else {f"obs/{_key(name)}": name for name in chosen}

    def _spec(self, kinds: Mapping[str, Kind], names: Mapping[str, str], files: list[Path]) -> StoreSpec:
        rows = {leaf: (kinds[name].shape, kinds[name].dtype) for leaf, name in names.items()}
        example = _example(next(records(files[0]), b""))
        for leaf, name in names.items():
            if kinds[name].what == "image" or 0 in kinds[name].shape:  # a shape may be open: then the first image's counts
                rows[leaf] = (kinds[name].decode(example.get(f"steps/{name}", []), name).shape[1:], kinds[name].dtype)
        actions = (_actions(kinds, self.action_keys, data) for file in files for data in records(file))
        try:
            action = action_of(actions)
        except BadEpisodeError as bad:
            raise InputError(f"{files[0]}: {bad.what}") from None
        if list(names) == ["obs"]:
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", *rows["obs"]),))
        else:
            observation = observation_of({leaf.removeprefix("obs/"): row for leaf, row in rows.items()})
        return StoreSpec(observation=observation, action=action, infos=self.infos)


def _key(name: str) -> str:
    return name.removeprefix("observation/").replace("/", ".")


def _actions(kinds: Mapping[str, Kind], keys: tuple[str, ...], data: bytes) -> Array:
    """Return an episode's actions but the last step's, which may be anything."""
    example = _example(data)
    return join({name: kinds[name].decode(example.get(f"steps/{name}", []), name)[:-1] for name in keys})


def _example(data: bytes) -> dict[str, Feature]:
    try:
        return parse_example(data)
    except (ValueError, KeyError):
        raise BadEpisodeError("isn't a tf.train.Example") from None


def _load(
    options: RldsImport,
    spec: StoreSpec,
    kinds: Mapping[str, Kind],
    names: Mapping[str, str],
    own: bool,
    file: Path,
    data: bytes,
) -> Episode:
    try:
        example = _example(data)

        def column(name: str) -> Array:
            if f"steps/{name}" not in example:
                raise BadEpisodeError(f"has no {name}")
            return kinds[name].decode(example[f"steps/{name}"], name)

        whole = {leaf: column(name) for leaf, name in names.items()}
        episode = _episode(options, spec, kinds, whole, column, own)
        if own:
            return _with_own(episode, spec, column, example)
        return replace(episode, infos=_infos(spec.infos, kinds, example, episode.length) if spec.infos else None)
    except BadEpisodeError as bad:
        raise BadEpisodeError(bad.what, step=bad.step, file=str(file)) from None


def _episode(
    options: RldsImport,
    spec: StoreSpec,
    kinds: Mapping[str, Kind],
    whole: dict[str, Array],
    column: Callable[[str], Array],
    own: bool,
) -> Episode:
    num, keys = len(next(iter(whole.values()))) - 1, ("action",) if own else options.action_keys
    last = column("is_last").astype(bool) if "is_last" in kinds else np.arange(num + 1) == num
    if np.any(last[:-1]):
        raise BadEpisodeError("is_last before its last step", step=int(np.argmax(last)))
    if not own and options.last_step == "transition":
        whole, num = options.ended(whole, num + 1)
    if num < 1:
        raise BadEpisodeError("has no actions")
    leaves = {leaf.name: leaf for leaf in spec.observation.leaves}
    terminal = bool(column("is_terminal")[-1]) if "is_terminal" in kinds else False
    return demonstration(
        observations={name: fit(rows, leaves[name], num + 1) for name, rows in whole.items()},
        actions=fit(join({key: column(key)[:num] for key in keys}), spec.action.leaf, num),
        rewards=column("reward")[:num].astype(np.float64) if "reward" in kinds else np.zeros(num),
        terminated=terminal,
        truncated=not terminal,
        labelled=options.demonstrations,
        source="rlds",
    )


def _infos(names: tuple[str, ...], kinds: Mapping[str, Kind], example: Mapping[str, Feature], num: int) -> tuple[str, ...]:
    columns: dict[str, list[Any]] = {}
    for name in names:
        values = example.get(f"steps/{name}", [])
        texts = [bytes(text).decode(errors="replace") for text in values] if kinds[name].what == "text" else None
        columns[name] = texts if texts is not None else kinds[name].decode(values, name).tolist()
        if len(columns[name]) < num:
            raise BadEpisodeError(f"has no {name} for each step")
    return tuple(json.dumps({name: values[step] for name, values in columns.items()}) for step in range(num))


def _with_own(episode: Episode, spec: StoreSpec, column: Callable[[str], Array], example: Mapping[str, Feature]) -> Episode:
    """Return the episode with what `RldsExport` put beside RLDS's fields."""
    num, action = episode.length, spec.action.leaf
    try:
        about = json.loads(bytes(example["episode_metadata/distil"][0]))
        ends = {name: bool(about.pop(name)) for name in ("terminated", "truncated")}
        infos = about.pop("infos")
    except (KeyError, ValueError, IndexError, TypeError):
        raise BadEpisodeError("its distil facts are damaged") from None
    more: dict[str, Any] = {name: column(name)[:num].astype(np.uint8) for name in _MARKS}
    more |= {
        name: fit(column(key)[:num], action, num)
        for name, key in (("actions", "executed_action"), ("expert_actions", "expert_action"))
    }
    more |= {"infos": tuple(infos) if infos is not None else None}
    return Episode(**(vars(episode) | more | ends | read_facts(about)))
