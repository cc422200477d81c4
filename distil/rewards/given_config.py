"""`reward: {kind: learned}`: a reward that an earlier run learned. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from distil import content
from distil.errors import InputError
from distil.rewards.config import REWARD, OfPolicyConfig, RewardConfig
from distil.rewards.ref import load_reward_ref, require_leaves

if TYPE_CHECKING:
    import torch

    from distil.policies.policy import Policy
    from distil.rewards.base import RewardModel


class GivenConfig(OfPolicyConfig):
    """A reward that an earlier run learned, and that stays as it is."""

    no_reward: ClassVar[str] = ""

    kind: Literal["learned"] = "learned"
    path: str  # the run's folder, or the reward's own
    digest: str | None = None  # of its file: the run says so, and no other one is taken
    trust: tuple[str, ...] = ()  # your own classes, modules or packages that it may name as its head or encoder

    @property
    def file(self) -> Path:
        """Its file; InputError if there is none."""
        path = Path(self.path)
        found = next((place for place in (path / "reward" / REWARD, path / REWARD) if place.is_file()), None)
        if found is None:
            raise InputError(
                f"algorithm.reward.path={self.path}: no reward there; give the folder of a run that learned one "
                "(algorithm.kind=airl, ml_irl, mce_irl, gail, dac, csil or iq)"
            )
        return found

    def pinned(self) -> Self:
        """Return it with the digest of its file; InputError if there is no file, or it is not the one of the digest."""
        (digest,) = content.of_files(self.file).files.values()
        if self.digest not in (None, digest):
            raise InputError(
                f"{self.file}: the reward is not the one that the run began with (digest {digest}, then {self.digest}); "
                "give the path of that one in algorithm.reward.path: a run that uses it keeps a copy in its folder reward"
            )
        return self.model_copy(update={"digest": digest})

    def absolute(self) -> Self:
        """Return it with a path that is right in any current folder."""
        return self.model_copy(update={"path": str(Path(self.path).absolute())})

    def build(self, policy: Policy, num_features: int, num_action: int, generator: torch.Generator) -> RewardModel:
        """Return the model; InputError if there is none, another one, or the policy's spaces lack what it reads."""
        from distil.rewards.given import GivenReward

        self.pinned()
        ref = load_reward_ref(self.file, trust=self.trust)
        require_leaves(ref.spec, policy.observation, policy.action, f"algorithm.reward.path={self.path}")
        return GivenReward(ref, policy.actions)


AnyRewardConfig = Annotated[RewardConfig | GivenConfig, Field(discriminator="kind")]
