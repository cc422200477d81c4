"""From an episode as the data has it to one of a store's spaces: other types, bounds and names, and float images as uint8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from distil.errors import InputError
from distil.interchange.episodes import BadEpisodeError, Finding, Report, check_episode, fit
from distil.spaces import Leaf, SpaceSpec
from distil.store.schema import StoreSpec
from distil.types import Array, Episode

_NUM_CHANNELS = (1, 3, 4)
_SMALLEST_IMAGE = 8  # pixels a side


class Conversion:
    """Makes episodes of the spaces `given` into those of a store. Values change their type only, and only where that is exact.

    Without a store's spaces, `spec` is None until the first episode: whether an array is an image is seen from its values.
    """

    def __init__(self, given: StoreSpec, wanted: StoreSpec | None, *, images: str, where: str, report: Report) -> None:
        """Prepare; InputError names what doesn't fit.

        Args:
            given: the spaces of the data.
            wanted: the store's spaces, or those that a new store is to have; None: the data's own.
            images: the importer's option.
            where: the data, for messages.
            report: told what looks wrong: images as floats, actions beyond their bounds.
        """
        self.spec = wanted
        self._given, self._images, self._where, self._report = given, images, where, report
        self._sources: Mapping[str, str] = {}
        self._told: set[str] = set()
        if wanted is not None:
            self._sources = _sources(given, wanted, where)

    def __call__(self, name: str, episode: Episode) -> Episode:
        """Return the episode in the store's spaces; BadEpisodeError names a value that they can't hold."""
        if self.spec is None:
            self.spec = replace(self._given, observation=self._with_images(episode))
            self._sources = {leaf.name: leaf.name for leaf in self.spec.observation.leaves}
            self._look_at_choices(episode)
        spec = self.spec
        if (self._given.observation, self._given.action) != (spec.observation, spec.action):
            num = episode.length
            episode = replace(
                episode,
                observations={leaf.name: self._leaf(episode, leaf) for leaf in spec.observation.leaves},
                actions=fit(episode.actions, spec.action.leaf, num),
                expert_actions=_labels(episode, spec.action.leaf),
            )
            check_episode(spec, episode)
        self._look_at_bounds(name, episode)
        return episode

    def _leaf(self, episode: Episode, leaf: Leaf) -> Array:
        values = episode.observations[self._sources[leaf.name]]
        try:
            return fit(values, leaf, episode.length + 1)
        except BadEpisodeError as bad:
            if leaf.dtype != "uint8" or values.dtype.kind != "f" or values.ndim != len(leaf.shape) + 1:
                raise
            scaled = " but from 0 to 1" if np.all((values >= 0) & (values <= 1)) else ""
            what = f"{leaf.name} isn't whole numbers from 0 to 255{scaled}, so uint8 can't hold it"
            raise BadEpisodeError(f"{what}: convert the data to such numbers first", step=bad.step) from None

    def _with_images(self, episode: Episode) -> SpaceSpec:
        """Return the observations' space, with images that aren't uint8 made so if the option says it, else reported."""
        leaves, asked = [], self._images == "uint8"
        for leaf in self._given.observation.leaves:
            if _image_shaped(leaf):
                values, name = episode.observations[leaf.name], leaf.name
                low, high = float(np.min(values)), float(np.max(values))
                whole = low >= 0 and high <= 255 and bool(np.all(values == np.floor(values)))
                if whole and high > 1 and asked:
                    leaf = replace(leaf, dtype="uint8", low=(0.0,), high=(255.0,))
                elif whole and high > 1:
                    does = "images=uint8 keeps them exactly, smaller, and as images, which floats aren't for the policy"
                    self._say(f"{name} holds whole numbers from 0 to 255 as {leaf.dtype}: {does}")
                elif low >= 0 and high <= 1:
                    does = "the policy takes them as plain numbers; for images, multiply by 255 and store uint8"
                    self._say(f"{name} looks like images of {leaf.dtype} from 0 to 1: {does}")
            leaves.append(leaf)
        if asked and not any(leaf.dtype == "uint8" for leaf in leaves):
            shapes = self._given.observation.describe()
            raise InputError(f"{self._where}: images=uint8: no images of whole numbers from 0 to 255 there, but {shapes}")
        return replace(self._given.observation, leaves=tuple(leaves))

    def _look_at_choices(self, episode: Episode) -> None:
        """Report actions that look like choices, stored as floats (pandas does so where a value is missing)."""
        leaf, actions = self._given.action.leaf, episode.actions
        is_one_float = leaf.kind == "box" and leaf.dtype.startswith("float") and actions[0].size == 1
        if is_one_float and np.ptp(actions) >= 1 and np.min(actions) >= 0 and np.all(actions == np.floor(actions)):
            does = "taken as continuous; an environment's spaces (--recipe, --env) or whole numbers make them choices"
            self._say(f"{leaf.name} holds whole numbers as {leaf.dtype}: {does}")

    def _look_at_bounds(self, name: str, episode: Episode) -> None:
        """Report, once a leaf, values beyond the bounds: data in other units look like this."""
        assert self.spec is not None
        given = {leaf.name: leaf for leaf in self._given.observation.leaves}
        rows = {
            leaf: episode.observations[leaf.name]
            for leaf in self.spec.observation.leaves
            if given.get(self._sources[leaf.name]) != leaf
        }
        for leaf, values in (rows | {self.spec.action.leaf: episode.actions}).items():
            if leaf.name in self._told or leaf.kind != "box" or leaf.dtype == "uint8":
                continue
            low, high = leaf.bounds()
            beyond = (values < low - 1e-6 * np.abs(low)) | (values > high + 1e-6 * np.abs(high))
            if np.any(beyond):
                at = tuple(int(i) for i in np.argwhere(beyond)[0])
                limits = f"{float(low[at[1:]]):g} to {float(high[at[1:]]):g}"
                what = f"{leaf.name} is {float(values[at]):g}, beyond its bounds {limits}: are the data in other units?"
                self._say(what, name, at[0], leaf.name)

    def _say(self, what: str, episode: str = "", step: int | None = None, once: str = "") -> None:
        self._told.add(once)
        self._report(Finding(file=self._where, what=what, episode=episode, step=step))


def _sources(given: StoreSpec, wanted: StoreSpec, where: str) -> dict[str, str]:
    """Return wanted leaf -> given leaf: of the same path, or each the only one; InputError names what doesn't fit."""
    ours = {leaf.name: leaf for leaf in wanted.observation.leaves}
    theirs = {_path(leaf.name): leaf for leaf in given.observation.leaves}
    only = len(ours) == len(theirs) == 1
    pairs: dict[str, Leaf] = {}
    faults = []
    for name, leaf in ours.items():
        found = next(iter(theirs.values())) if only else theirs.get(_path(name))
        if found is None:
            faults.append(f"the data have no {name}")
        elif _size(found) != _size(leaf):
            faults.append(f"{name} is {list(found.shape)} in the data, {list(leaf.shape)} in the store")
        else:
            pairs[name] = found
    if not only:
        used = {_path(name) for name in ours}
        faults += [f"the store has no {leaf.name}" for path, leaf in theirs.items() if path not in used]
    if _size(given.action.leaf) != _size(wanted.action.leaf):
        faults.append(f"actions are {given.action.describe()} in the data, {wanted.action.describe()} in the store")
    if faults:
        fix = "choose keys with observations=[...] and action=[...], or another environment or store"
        raise InputError(f"{where}: the data don't fit the store's spaces: {'; '.join(faults)}; {fix}")
    return {name: leaf.name for name, leaf in pairs.items()}


def _path(name: str) -> str:
    return name.replace(".", "/")  # some formats name nested keys a.b, an environment's Dict gives a/b


def _labels(episode: Episode, leaf: Leaf) -> Array:
    labels = fit(episode.expert_actions, leaf, episode.length)
    blank = np.zeros_like(labels)
    return np.where(episode.labelled.astype(bool).reshape(-1, *[1] * len(leaf.shape)), labels, blank)


def _size(leaf: Leaf) -> tuple[int, ...]:
    return tuple(n for n in leaf.shape if n != 1)


def _image_shaped(leaf: Leaf) -> bool:
    """Whether an array that isn't uint8 has an image's shape: [Y, X], with channels first or last, or a stack of those."""
    shape = leaf.shape[1:] if len(leaf.shape) == 4 else leaf.shape
    if leaf.kind != "box" or leaf.dtype == "uint8" or len(shape) not in (2, 3):
        return False
    if len(shape) == 2:
        return len(leaf.shape) == 2 and min(shape) >= 2 * _SMALLEST_IMAGE
    first, last = shape[0] in _NUM_CHANNELS, shape[2] in _NUM_CHANNELS
    return (last and min(shape[:2]) >= _SMALLEST_IMAGE) or (first and min(shape[1:]) >= _SMALLEST_IMAGE)
