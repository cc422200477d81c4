"""RLDS datasets as TensorFlow Datasets keeps them (TFRecord files, features.json), read and written without TensorFlow.

An episode is its `steps`; a step holds an observation, the action taken there and its reward. The last step has only its
observation: what else it holds isn't valid. `is_terminal` there says that the task ended; otherwise the episode was cut.
(Ramos et al., "RLDS: an ecosystem to generate, share and use datasets in reinforcement learning", 2021.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from distil.config import nearest
from distil.errors import InputError, RunError
from distil.interchange.base import Contents, WithoutFinalObservation
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    Report,
    demonstration,
    fit,
    flags,
    join,
    last_flag,
    read_facts,
    said_of_joined,
    success_in,
)
from distil.interchange.rlds_features import Kind, read_kinds
from distil.interchange.rlds_splits import Part, parts
from distil.interchange.spaces import action_of, leaf_of, observation_of
from distil.interchange.tfrecord import Feature, parse_example
from distil.spaces import SpaceSpec
from distil.store.schema import StoreSpec, spec_from_json
from distil.success import SUCCESS_KEYS
from distil.types import Array, Episode

_MARKS = ("labelled", "acted_by_expert")


class RldsImport(WithoutFinalObservation):
    """Reads an RLDS dataset: the folder with features.json. Keys are paths such as `observation/image`."""

    summary: ClassVar[str] = "RLDS dataset folder of TensorFlow Datasets: TFRecord"
    kind: Literal["rlds"] = "rlds"
    split: str = "train"  # also all, A+B, A[:10%], A[100:200], as TensorFlow Datasets writes it
    last_step: Literal["observation", "transition"] = "observation"  # transition: its action is valid, against RLDS's rule

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`."""
        kinds, chosen = read_kinds(source), parts(source, self.split)
        own = (source / "distil.json").is_file()
        if own:
            spec = spec_from_json(json.loads((source / "distil.json").read_bytes()), str(source / "distil.json"))
            names = {leaf.name: leaf.name.replace("obs", "observation", 1) for leaf in spec.observation.leaves}
        else:
            names = self._choose(kinds, source, report)
            spec = self._spec(kinds, names, source, chosen, report)
        ends = LastSteps()
        reader = _Reader(options=self, spec=spec, kinds=kinds, names=names, own=own, ends=ends)
        return Contents(spec=spec, episodes=self._loaders(chosen, reader, source, report), stem=source.name)

    def _loaders(
        self, chosen: list[Part], reader: _Reader, source: Path, report: Report
    ) -> Iterator[tuple[str, Callable[[], Episode]]]:
        for part in chosen:
            for number, file, data in part.episodes():
                yield f"{part.name}/{number}" if len(chosen) > 1 else str(number), partial(reader.load, file, data)
        for what in reader.ends.findings(self.last_step == "transition"):
            report(Finding(file=str(source), what=what))

    def _choose(self, kinds: Mapping[str, Kind], source: Path, report: Report) -> dict[str, str]:
        known = {name: "" if kind.what in ("tensor", "image") else kind.what for name, kind in kinds.items()}
        chosen = self.choose(known, [name for name in known if name.split("/")[0] == "observation"], source, report)
        for name in self.infos:
            if name not in kinds:
                raise InputError(f"{source}: no key {name!r} in its steps for infos{nearest(name, list(kinds))}")
        if len(self.action_keys) > 1:
            report(Finding(file=str(source), what=said_of_joined({key: kinds[key].shape for key in self.action_keys})))
        return {"obs": chosen[0]} if len(chosen) == 1 else {f"obs/{_key(name)}": name for name in chosen}

    def _spec(
        self, kinds: Mapping[str, Kind], names: Mapping[str, str], source: Path, chosen: list[Part], report: Report
    ) -> StoreSpec:
        rows = {leaf: (kinds[name].shape, kinds[name].dtype) for leaf, name in names.items()}
        action = action_of(self._all_actions(kinds, names, chosen, rows))
        if self.last_step == "transition":
            report(self.finding(str(source)))
        for key, what in (("reward", "rewards are 0"), ("is_terminal", "its episodes are taken as truncated, not terminated")):
            if key not in kinds:
                report(Finding(file=str(source), what=f"its steps have no {key}: {what}"))
        if list(names) == ["obs"]:
            observation = SpaceSpec(tree="obs", leaves=(leaf_of("obs", *rows["obs"]),))
        else:
            observation = observation_of({leaf.removeprefix("obs/"): row for leaf, row in rows.items()})
        return StoreSpec(observation=observation, action=action, infos=self.infos)

    def _all_actions(
        self,
        kinds: Mapping[str, Kind],
        names: Mapping[str, str],
        chosen: list[Part],
        rows: dict[str, tuple[tuple[int, ...], str]],
    ) -> Iterator[Array]:
        """Yield the valid actions of all whole episodes; the first one also says the shapes that are open in `rows`."""
        is_first, wrong = True, ""
        for number, file, data in (item for part in chosen for item in part.episodes()):
            try:
                example = _example(data)
                actions = join({name: kinds[name].decode(example.get(f"steps/{name}", []), name) for name in self.action_keys})
                for leaf, name in names.items() if is_first else ():
                    if kinds[name].what == "image":
                        frames = kinds[name].decode(example.get(f"steps/{name}", [])[:1], name)
                        rows[leaf] = (frames.shape[1:], kinds[name].dtype)
            except BadEpisodeError as bad:
                wrong = wrong or f"{file}: episode {number}: {bad.what}; fix the data, or choose other keys"
                continue  # it is reported when it is read
            is_first = False
            yield actions if self.last_step == "transition" else actions[:-1]
        if is_first and wrong:
            raise RunError(wrong)


class LastSteps:
    """What the last steps of the episodes hold besides an observation. By RLDS's rule nothing there is valid."""

    def __init__(self) -> None:
        """Begin with no episode."""
        self.num_episodes = self.num_actions = self.num_rewards = self.num_discounts = 0
        self.total_reward = 0.0

    def look(self, action: Array, reward: float, discount: float, terminal: bool) -> None:
        """Count an episode's last step: its action, its reward and discount, and whether it is terminal."""
        self.num_episodes += 1
        self.num_actions += bool(np.any(np.nan_to_num(action) != 0))
        self.num_rewards += np.isfinite(reward) and reward != 0
        self.total_reward += reward if np.isfinite(reward) else 0.0
        self.num_discounts += discount == 0 and not terminal

    def findings(self, kept: bool) -> list[str]:
        """Return what to report; `kept`: last steps are taken as transitions."""
        out = []
        if not kept and (self.num_rewards or self.num_actions):
            lost = f"returns lose {self.total_reward:g} in all; " if self.num_rewards else ""
            out.append(
                f"the last step holds an action in {self.num_actions} and a reward in {self.num_rewards} of "
                f"{self.num_episodes} episodes; RLDS's rule is that neither is valid, so they are dropped: {lost}"
                "last_step=transition keeps them"
            )
        if self.num_discounts:
            out.append(f"discount is 0 at the end of {self.num_discounts} episodes that aren't is_terminal: taken as truncated")
        return out


def _key(name: str) -> str:
    return name.removeprefix("observation/").replace("/", ".")


def _example(data: bytes) -> dict[str, Feature]:
    try:
        return parse_example(data)
    except (ValueError, KeyError):
        raise BadEpisodeError("isn't a tf.train.Example") from None


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Makes episodes of records."""

    options: RldsImport
    spec: StoreSpec
    kinds: Mapping[str, Kind]
    names: Mapping[str, str]  # leaf -> key
    own: bool  # distil wrote it
    ends: LastSteps

    def load(self, file: Path, data: bytes) -> Episode:
        """Return an episode; BadEpisodeError names `file`."""
        try:
            example = _example(data)
            num = len(self._column(example, next(iter(self.names.values())), None)) - 1
            if num < 0:
                raise BadEpisodeError("has no steps")
            column = partial(self._column, example, num=num + 1)
            episode = self._episode(num, column, example)
            if self.own:
                return _with_own(episode, self.spec, column, example)
            infos = _infos(self.spec.infos, self.kinds, example, episode.length) if self.spec.infos else None
            return replace(episode, infos=infos)
        except BadEpisodeError as bad:
            raise BadEpisodeError(bad.what, step=bad.step, file=str(file)) from None

    def _column(self, example: Mapping[str, Feature], name: str, num: int | None) -> Array:
        if f"steps/{name}" not in example:
            raise BadEpisodeError(f"has no {name}")
        rows = self.kinds[name].decode(example[f"steps/{name}"], name)
        if num is not None and len(rows) != num:
            raise BadEpisodeError(f"has {len(rows)} {name} for {num} steps")
        return rows

    def _episode(self, num: int, column: Callable[[str], Array], example: Mapping[str, Feature]) -> Episode:
        kinds, options = self.kinds, self.options
        whole = {leaf: column(name) for leaf, name in self.names.items()}
        actions = join({key: column(key) for key in (("action",) if self.own else options.action_keys)})
        rewards = column("reward").astype(np.float64) if "reward" in kinds else np.zeros(num + 1)
        terminal = _terminal(kinds, column, num)
        if not self.own:
            discount = float(column("discount")[-1]) if "discount" in kinds and not kinds["discount"].shape else 1.0
            self.ends.look(actions[-1], float(rewards.reshape(-1)[-1]), discount, terminal)
            if options.last_step == "transition":
                whole, kept = options.ended(whole, num + 1)
                terminal, num = terminal and kept > num, kept
        if num < 1:
            raise BadEpisodeError("has no actions")
        leaves = {leaf.name: leaf for leaf in self.spec.observation.leaves}
        return demonstration(
            observations={name: fit(rows, leaves[name], num + 1) for name, rows in whole.items()},
            actions=fit(actions[:num], self.spec.action.leaf, num),
            rewards=rewards[:num],
            terminated=terminal,
            truncated=not terminal,
            labelled=options.demonstrations,
            source="rlds",
            success=_success(kinds, column, example),
        )


def _success(kinds: Mapping[str, Kind], column: Callable[[str], Array], example: Mapping[str, Feature]) -> bool | None:
    """Return what the steps (any of them), or the episode's metadata, say of success; None if neither does."""
    for name in SUCCESS_KEYS:
        if name in kinds and kinds[name].what == "tensor":
            return success_in(column(name), name)
        values = example.get(f"episode_metadata/{name}", [])
        if isinstance(values, np.ndarray) and values.size == 1:
            return success_in(values, name)
    return None


def _terminal(kinds: Mapping[str, Kind], column: Callable[[str], Array], num: int) -> bool:
    """Return whether the task ended; BadEpisodeError where the marks contradict the order of the steps."""
    if "is_first" in kinds:
        first = flags(column("is_first"), "is_first")
        wrong = first != (np.arange(len(first)) == 0)
        if np.any(wrong):
            what = "is_first after its first step" if first[np.argmax(wrong)] else "its first step isn't is_first"
            raise BadEpisodeError(what, step=int(np.argmax(wrong)))
    last = last_flag(column("is_last"), "is_last", "step") if "is_last" in kinds else True
    terminal = "is_terminal" in kinds and last_flag(column("is_terminal"), "is_terminal", "step")
    if terminal and not last:
        raise BadEpisodeError("is_terminal, but not is_last", step=num)
    return terminal


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
    """Return the episode with the fields that `RldsExport` added to RLDS's."""
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
