"""The learned policy in torch: encoder, head and statistics, and the loss that trains them. Rollouts use `acting`.

Several networks of independent start weights may learn side by side, on the same batches (deep ensembles: Lakshminarayanan et
al., 2017, section 2.4). The first one's arrays have the names of a single policy's, those of the others begin with `members.1.`
and so on, so that a single policy is an ensemble without others.

Legend: B batch, N environments, H observation horizon, T action chunk, A action dimension (or factor), K noise, R chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.heads.base import Head, HeadLoss
from distil.nn.losses import masked_mean
from distil.policies.action_scaling import Actions
from distil.policies.config import PolicyConfig
from distil.policies.encoder import Encoder
from distil.policies.layout import needs_statistics
from distil.policies.spec import PolicyRef, PolicySpec
from distil.seeding import integer
from distil.spaces import SpaceSpec
from distil.store.moments import Moments, moments_of
from distil.types import Array, Batch

__all__ = ["Policy", "PolicyConfig", "PolicyLoss"]


@dataclass(frozen=True, kw_only=True)
class PolicyLoss:
    """The loss of each window, and the head's figures."""

    loss_B: Tensor
    extras: Mapping[str, Tensor]  # name -> scalar, without a gradient


class Member(nn.Module):
    """One more network of an ensemble. Its statistics are copies of the first one's."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


def _network(spec: PolicySpec, seed: int) -> tuple[Encoder, Head]:
    """Return encoder and head that start from `seed`."""
    config, generator = spec.config, torch.Generator().manual_seed(seed)
    encoder = spec.encoder.build(spec.observation, config.obs_horizon, config.obs_clip, generator=generator)
    return encoder, spec.head.build(spec.action.leaf, encoder.num_out, config.chunk, generator=generator)


def _check(policy: Policy, _: object) -> None:
    policy._check_fitted()


class Policy(nn.Module):
    """A policy for given spaces: one network, or an ensemble of them.

    Args:
        config: its parts; every `auto` is resolved for the spaces.
        observation: the observation space.
        action: the action space.
        seed: of the start weights; each further member has one that is derived from it. Torch's global random state is not
            touched.

    Raises:
        InputError: the head or encoder doesn't fit the spaces.
    """

    def __init__(self, config: PolicyConfig, observation: SpaceSpec, action: SpaceSpec, *, seed: int = 0) -> None:
        super().__init__()
        self.spec = PolicySpec(config=config.resolve(observation, action), observation=observation, action=action)
        self._seed = seed
        self.encoder, self.head = _network(self.spec, seed)
        self.actions = Actions(action.leaf, self.config.actions.origin(observation, action.leaf))
        seeds = {str(i): integer(seed, "member", i) for i in range(1, config.ensemble)}
        self.members = nn.ModuleDict({i: Member(*_network(self.spec, s)) for i, s in seeds.items()})
        self._fitted = False
        self.register_load_state_dict_post_hook(_check)  # type: ignore[no-untyped-call]
        self._check_fitted()

    @property
    def config(self) -> PolicyConfig:
        """Its parts, every `auto` resolved."""
        return self.spec.config

    @property
    def observation(self) -> SpaceSpec:
        """The observation space."""
        return self.spec.observation

    @property
    def action(self) -> SpaceSpec:
        """The action space."""
        return self.spec.action

    @property
    def needs(self) -> list[str]:
        """Names of what `fit` needs statistics of: leaves, and "action" where (relative) labels give the scaling."""
        leaves = [part.leaf.name for part in self.encoder.features.parts if needs_statistics(part)]
        return leaves + ["action"] * self.actions.is_open

    def fit_normaliser(self, columns: Mapping[str, Array]) -> None:
        """Set the statistics from training data: leaf name -> [R, ...], and "action" -> [R, ...] labels of these rows.

        Raises:
            InputError: a column that is needed is missing, empty or not finite.
        """
        columns = {name: columns[name] for name in self.needs if name in columns}
        origin = self.actions.origin
        if origin is not None and {"action", origin.leaf} <= columns.keys():
            labels = columns["action"]
            columns["action"] = labels - origin.of(columns[origin.leaf]).reshape(labels.shape)
        self.fit(moments_of(columns))

    def has_left(self, statistics: Mapping[str, Moments]) -> bool:
        """Return whether observations of these statistics are out of the range of those that the policy was fitted on."""
        return self.encoder.features.has_left(statistics)

    def fit(self, statistics: Mapping[str, Moments], *, actions: bool = True) -> list[str]:
        """Set the statistics from those of the training data; return the names of constant dimensions, such as `obs[3]`.

        Args:
            statistics: of what `needs` names.
            actions: also set the range of actions without bounds; otherwise it stays, and needs no statistics.

        Raises:
            InputError: one is missing.
        """
        missing = [name for name in self.needs if name not in statistics and (actions or name != "action")]
        if missing:
            raise InputError(f"the statistics of {missing[0]} need training data: give at least one episode with that column")
        constant = self.encoder.features.fit(statistics, self.config.std_floor)
        for encoder, _ in self._networks()[1:]:
            encoder.features.load_state_dict(self.encoder.features.state_dict())
        if actions:
            self.actions.fit(statistics.get("action"))
        self._check_fitted()
        return constant

    @torch.no_grad()
    def fit_labels(self, chunks_RTA: Tensor) -> None:
        """Fit the heads that need it (`Head.needs_labels`) on chunks of training labels, as head actions: see `actions.encode`.

        Call it after `fit`, which sets the scaling of actions.
        """
        for i, (_, head) in enumerate(self._networks()):
            head.fit_labels(chunks_RTA, integer(self._seed, "labels", i))
        self._check_fitted()

    @torch.no_grad()
    def widen_actions(self, labels: Moments) -> bool:
        """Widen the scaling of an action without bounds if labels lie outside of it; return whether.

        The heads' last layers change with it, so that the policy acts nearly as it did.
        """
        change = self.actions.widen(labels)
        if change is None:
            return False
        for _, head in self._networks():
            slope, shift = (torch.from_numpy(value).to(self.actions.centre) for value in change)
            head.rescale(slope, shift)
        self._check_fitted()
        return True

    def loss(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each window, [B]; see `losses`."""
        return self.losses(batch, generator=generator).loss_B

    def losses(self, batch: Batch, *, generator: torch.Generator | None = None) -> PolicyLoss:
        """Return the loss of each window: the mean over its steps that are no pads, and over the members.

        Weights apply outside.

        Args:
            batch: tensors on the policy's device.
            generator: for heads whose loss is random.
        """
        self._require_fitted()
        actions_BTA = self.actions.encode(batch.actions, batch.observations)
        found = [
            head.loss(encoder(batch.observations), actions_BTA, batch.is_pad, generator=generator)
            for encoder, head in self._networks()
        ]
        losses = [each.loss_BT for each in found]
        loss_BT = torch.stack(losses).mean(0) if self.members else losses[0]
        loss_B = masked_mean(loss_BT, batch.is_pad)
        return PolicyLoss(loss_B=loss_B, extras=_figures(found, batch.is_pad) if found[0].extras else {})

    def plan(self, observations: Mapping[str, Tensor], noise_NK: Tensor | None) -> Tensor:
        """Return head actions [N, T, A] for windows [N, H, ...]: the default ones, or the sample that `noise_NK` leads to.

        It is that of a single network: the members of an ensemble plan by themselves (see `distil.policies.ensemble`).
        """
        assert not self.members
        self._require_fitted()
        context = self.encoder(observations)
        return self.head.point(context) if noise_NK is None else self.head.sample_from(context, noise_NK)

    def ref(self, version: int) -> PolicyRef:
        """Return a copy of the policy as plain data; `distil.policies.restore.policy_of` reads it back."""
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        return PolicyRef(version=version, spec=self.spec, arrays=arrays)

    def _networks(self) -> list[tuple[Encoder, Head]]:
        """Return encoder and head of each member."""
        others = cast("Iterable[Member]", self.members.values())
        return [(self.encoder, self.head), *((member.encoder, member.head) for member in others)]

    def _check_fitted(self) -> None:
        self._fitted = not any(bool(value.isnan().any()) for value in self.buffers() if value.is_floating_point())
        self.actions.refresh()

    def _require_fitted(self) -> None:
        if not self._fitted:
            raise InputError(
                "the policy has no observation statistics: train it before it acts (an algorithm's first round has an update), "
                "or call fit_normaliser(columns) on training data, and fit_labels(chunks) for heads that are fitted on labels"
            )


def _figures(found: Sequence[HeadLoss], is_pad_BT: Tensor) -> dict[str, Tensor]:
    """Return the mean of each extra over the members, and over the steps that are no pads."""
    out = {}
    for name in found[0].extras:
        values = torch.stack([each.extras[name].detach() for each in found]).mean(0)
        if values.ndim:
            values = values.masked_fill(is_pad_BT, 0.0).sum() / (~is_pad_BT).sum().clamp(min=1)
        out[name] = values
    return out
