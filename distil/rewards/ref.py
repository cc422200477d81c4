"""A reward as plain data, and on disk: `reward.safetensors`, and `reward.json`, a readable copy of its header. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from distil.config import Config, validate
from distil.durable import make_folders, replace_durably
from distil.errors import InputError
from distil.fence import Check, unfenced
from distil.heads.config import with_bound
from distil.policies import arrayfile
from distil.policies.config import PolicyConfig
from distil.policies.header import require_small, require_trusted, sizes, width
from distil.policies.spec import PolicySpec, spaces_of
from distil.rewards.config import ABOUT, REWARD, Nature, OfPolicyConfig, SavedRewardConfig
from distil.spaces import Leaf, SpaceSpec, difference
from distil.types import Array

FORMAT = 1
_WHAT = "reward"
_NONE = "give the folder of a run that learned one (algorithm.kind=airl, ml_irl, mce_irl, gail, dac, csil or iq)"


class _Stored(Config):
    """What the header says of a reward, besides its spaces."""

    config: SavedRewardConfig
    discount: float = Field(ge=0, lt=1)
    obs_clip: float = Field(gt=0)
    policy: PolicyConfig | None


@dataclass(frozen=True, kw_only=True)
class RewardSpec:
    """What rebuilds a reward, besides its arrays."""

    config: SavedRewardConfig
    observation: SpaceSpec
    action: SpaceSpec
    discount: float  # of the return that it was learned with
    obs_clip: float  # of standardised features
    policy: PolicyConfig | None = None  # of the clone, or of the Q-function, that it consists of

    @property
    def nature(self) -> Nature:
        """What it can be used for; `distil.rewards.config.ABOUT` says it in words."""
        return self.config.nature

    @property
    def sees(self) -> str:
        """What a step's reward depends on: "state", "state_action" or "transition"."""
        if self.config.kind == "implied":
            return "transition"
        return "state_action" if self.config.kind == "coherent" else self.config.sees

    @property
    def policy_spec(self) -> PolicySpec | None:
        """The policy that it consists of."""
        if self.policy is None:
            return None
        return PolicySpec(config=self.policy, observation=self.observation, action=self.action)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; `RewardSpec.from_json` reads it back."""
        return {
            "config": self.config.model_dump(mode="json"),
            "discount": self.discount,
            "obs_clip": self.obs_clip,
            "policy": None if self.policy is None else self.policy.model_dump(mode="json"),
            "observation": self.observation.to_json(),
            "action": self.action.to_json(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RewardSpec:
        """Return the spec that `to_json` wrote, now or in an earlier version.

        Raises:
            InputError: a key is unknown or has a wrong value, or a space is not one that distil writes.
        """
        own = {name: value for name, value in data.items() if name not in ("observation", "action")}
        if isinstance(own.get("policy"), Mapping):
            own["policy"] = with_bound(own["policy"])
        stored = validate(_Stored, own, "its spec")
        observation, action = spaces_of(data)
        if (stored.policy is not None) != isinstance(stored.config, OfPolicyConfig):
            raise InputError("its policy and its kind don't fit each other; copy it again or retrain")
        return RewardSpec(
            config=stored.config,
            observation=observation,
            action=action,
            discount=stored.discount,
            obs_clip=stored.obs_clip,
            policy=None if stored.policy is None else stored.policy.resolve(observation, action),
        )


@dataclass(frozen=True, kw_only=True)
class RewardRef:
    """A version of a reward as plain data."""

    version: int  # of the policy that was learned beside it
    spec: RewardSpec
    arrays: Mapping[str, Array] = field(repr=False)  # named weights and statistics


def save_reward(ref: RewardRef, folder: str | Path, check: Check = unfenced) -> Path:
    """Write a reward into `folder` (made if needed), durably; an older one there is replaced. Return the arrays' path.

    Args:
        ref: the reward.
        folder: its folder.
        check: called before each of its files is replaced; see `distil.fence`.

    Raises:
        RunError: the disk refused.
    """
    about = {"nature": ref.spec.nature, "about": ABOUT[ref.spec.nature]}  # for people
    header = {"format": FORMAT, "version": ref.version, **about, "spec": ref.spec.to_json()}
    return arrayfile.write(Path(folder), _WHAT, header, ref.arrays, check)


def copy_reward(source: Path, folder: Path, check: Check = unfenced) -> None:
    """Copy both files of a reward into another folder, as they are, durably."""
    make_folders(folder)
    for name in (REWARD, f"{_WHAT}.json"):
        replace_durably(folder / name, (source / name).read_bytes(), check)


def load_reward_ref(folder: str | Path, *, trust: Sequence[str] = ()) -> RewardRef:
    """Return the reward that `save_reward` wrote.

    Args:
        folder: the reward's folder, or its `reward.safetensors`.
        trust: classes (package.module:Class), modules or packages of your own that its clone or Q-function may name as its head
            or encoder. Building the reward imports them.

    Raises:
        InputError: there is none, it is damaged, a newer distil wrote it, or it describes more than its arrays hold.
    """
    path = arrayfile.path_of(Path(folder), _WHAT)
    text, arrays = arrayfile.read(path, _WHAT, _NONE)
    try:
        header = arrayfile.parse(text, _WHAT, FORMAT)
        spec, version = header.get("spec"), header.get("version")
        if not isinstance(spec, dict) or type(version) is not int:
            raise InputError("its header lacks spec or version; copy it again or retrain")
        known = RewardSpec.from_json(spec)
        if known.policy_spec is not None:
            require_trusted(known.policy_spec, trust, _WHAT)
        require_small(_sizes(known, arrays), arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if header.get("digest") != arrayfile.digest(arrays):
        raise InputError(f"{path}: the numbers are damaged (their digest differs); copy the file again or retrain")
    return RewardRef(version=version, spec=known, arrays=arrays)


def _sizes(spec: RewardSpec, arrays: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """Yield what the spec asks for that can't be more than the numbers of all arrays together."""
    if spec.policy_spec is not None:
        yield from sizes(spec.policy_spec, arrays)
    else:
        yield from ((f"observation {leaf.name}", width(leaf)) for leaf in spec.observation.leaves)
    if spec.sees != "state" or spec.action.leaf.kind == "box":
        yield "action", width(spec.action.leaf)
    if spec.config.kind == "tabular" and spec.sees != "state":
        yield "table", sum(map(width, spec.observation.leaves)) * width(spec.action.leaf)
    yield "network", spec.config.least_weights


def _named(leaf: Leaf) -> str:
    return f"{leaf.name} ({SpaceSpec(tree=leaf.name, leaves=(leaf,)).describe()})"


def require_leaves(spec: RewardSpec, observation: SpaceSpec, action: SpaceSpec, where: str) -> None:
    """Raise InputError if an environment lacks what a reward reads: observations, and actions if it sees them.

    The environment may have further leaves, other bounds of observations, and other actions for a reward of the state alone.

    Args:
        spec: the reward's.
        observation: the environment's.
        action: the environment's.
        where: what chose the reward.
    """
    given = {leaf.name: leaf for leaf in observation.leaves}
    for leaf in spec.observation.leaves:
        found = given.get(leaf.name)
        mine = (leaf.kind, leaf.shape, leaf.nvec, leaf.start)
        if found is None or mine != (found.kind, found.shape, found.nvec, found.start):
            shows = ", ".join(map(_named, observation.leaves))
            raise InputError(
                f"{where}: the reward reads {_named(leaf)}, the environment shows {shows}: use an environment with it"
            )
    if spec.sees == "state":
        return
    if differs := difference(spec.action, action, ("the reward", "the environment")):
        raise InputError(
            f"{where}: the reward sees actions, and {differs}: use an environment with the same actions, or learn a reward of "
            "the state alone (algorithm.reward.sees=state)"
        )
