"""The learned policy: encoder + head + statistics, its loss, and how it acts. The torch half; rollouts use `acting`.

Several networks of independent start weights may learn side by side, on the same batches (deep ensembles: Lakshminarayanan et
al., 2017, section 2.4). The first one's arrays have the names of a single policy's, those of the others begin with `members.1.`
and so on, so that a single policy is an ensemble without others.

Legend: B batch, N environments, H observation horizon, T action chunk, A action dimension (or factor), D context, K noise,
M members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from distil.errors import InputError
from distil.heads.base import Head
from distil.heads.config import AutoHeadConfig
from distil.policies.config import AutoEncoderConfig, PolicyConfig
from distil.policies.encoder import Encoder
from distil.policies.layout import action_scaling, bounded, carried_over, needs_statistics, widened
from distil.policies.spec import PolicyRef, PolicySpec
from distil.seeding import integer
from distil.spaces import Leaf, SpaceSpec
from distil.store.moments import Moments, moments_of
from distil.types import Array, Batch

__all__ = ["Policy", "PolicyConfig", "State"]


@dataclass(frozen=True, kw_only=True)
class State:
    """What a policy remembers of N running episodes; `Policy.act` returns the next one."""

    history: Mapping[str, Tensor] | None  # leaf name -> [N, H, ...]; None before the first step
    fresh: Tensor  # [N] bool: the next observation is the episode's first
    queue: Tensor | None  # [N, T, ...] the last chunk, in the environment's space
    used: Tensor  # [N] how many of it are executed

    def reset(self, mask: Tensor) -> State:
        """Return the state with new episodes in the rows of `mask` [N]: their history and queued actions are gone."""
        return replace(self, fresh=self.fresh | mask)


class Actions(nn.Module):
    """Environment actions <-> head actions. The scaling of a box is a frozen buffer."""

    centre: Tensor
    half_width: Tensor

    def __init__(self, leaf: Leaf) -> None:
        super().__init__()
        self.leaf = leaf
        self._box = leaf.kind == "box"
        self._identity = False
        if self._box:
            centre, half = action_scaling(leaf, None)
            self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
            self.register_buffer("half_width", torch.tensor(half, dtype=torch.float32))
            low, high = (torch.tensor(bound.reshape(-1), dtype=torch.float32) for bound in leaf.bounds())
            self.register_buffer("_low", low, persistent=False)
            self.register_buffer("_high", high, persistent=False)

    @property
    def is_open(self) -> bool:
        """Whether a dimension has no bounds, so that labels give its scaling."""
        return self._box and not bool(bounded(self.leaf).all())

    def fit(self, labels: Moments | None) -> None:
        """Set the scaling from the training labels where the space has no bounds."""
        if self._box:
            self._set(*action_scaling(self.leaf, labels))

    def widen(self, labels: Moments) -> tuple[Array, Array] | None:
        """Widen the scaling if labels lie outside of it; return the `carried_over` of tanh's argument then."""
        old = self.centre.double().cpu().numpy(), self.half_width.double().cpu().numpy()
        new = widened(self.leaf, *old, labels)
        if new is None:
            return None
        self._set(*new)
        return carried_over(old, new)

    def _set(self, centre: Array, half: Array) -> None:
        self.centre.copy_(torch.from_numpy(centre))
        self.half_width.copy_(torch.from_numpy(half))

    def refresh(self) -> None:
        """Look at the scaling after it changed: an identity costs nothing in `encode`."""
        self._identity = self._box and not bool(self.centre.any()) and bool((self.half_width == 1).all())

    def encode(self, actions_BT: Tensor) -> Tensor:
        """Return head actions [B, T, A] of environment actions [B, T, ...]."""
        flat_BTA = actions_BT.reshape(*actions_BT.shape[:2], -1)
        if self._box:
            return flat_BTA.float() if self._identity else (flat_BTA.float() - self.centre) / self.half_width
        return flat_BTA.long() - self.leaf.start

    def decode(self, actions_BTA: Tensor) -> Tensor:
        """Return environment actions [B, T, ...] inside their bounds; boxes keep the head's float dtype."""
        if self._box:
            flat = actions_BTA * self.half_width + self.centre
            flat = torch.minimum(torch.maximum(flat, self.get_buffer("_low")), self.get_buffer("_high"))
        else:
            flat = actions_BTA + self.leaf.start
        return flat.reshape(*flat.shape[:2], *self.leaf.shape)


class Member(nn.Module):
    """One more network of an ensemble. Its statistics are copies of the first one's."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


def vote(choices_MNTA: Tensor) -> Tensor:
    """Return the choice of most members for each factor, [N, T, A]; of a tie, the lowest."""
    num_alike = (choices_MNTA.unsqueeze(1) == choices_MNTA).sum(1)
    return choices_MNTA.masked_fill(num_alike < num_alike.amax(0), torch.iinfo(choices_MNTA.dtype).max).amin(0)


def _network(config: PolicyConfig, observation: SpaceSpec, action: SpaceSpec, seed: int) -> tuple[Encoder, Head]:
    """Return encoder and head that start from `seed`; `config` is resolved."""
    generator = torch.Generator().manual_seed(seed)
    assert not isinstance(config.encoder, AutoEncoderConfig)
    assert not isinstance(config.head, AutoHeadConfig)
    encoder = Encoder(config.encoder, observation, config.obs_horizon, config.obs_clip, generator)
    return encoder, config.head.build(action.leaf, encoder.num_out, config.chunk, generator=generator)


def _require_shapes(own: Mapping[str, Tensor], arrays: Mapping[str, Array]) -> None:
    for name in sorted(own):
        have = tuple(arrays[name].shape) if name in arrays else "nothing"
        if have != tuple(own[name].shape):
            want = tuple(own[name].shape)
            raise InputError(f"policy weights {name}: found {have}, expected {want}; use the config that made them")


def _check(policy: Policy, _: object) -> None:
    policy._check_fitted()


class Policy(nn.Module):
    """A policy for given spaces: one network, or an ensemble of them.

    An ensemble acts deterministically: by the mean of its members' modes in the head's space, or by their majority.

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
        self.config = config.resolve(observation, action)
        self.observation, self.action = observation, action
        self.encoder, self.head = _network(self.config, observation, action, seed)
        self.actions = Actions(action.leaf)
        seeds = {str(i): integer(seed, "member", i) for i in range(1, config.ensemble)}
        self.members = nn.ModuleDict({i: Member(*_network(self.config, observation, action, s)) for i, s in seeds.items()})
        self._fitted = False
        self.register_load_state_dict_post_hook(_check)  # type: ignore[no-untyped-call]
        self._check_fitted()

    @property
    def needs(self) -> list[str]:
        """Names of what `fit` needs statistics of: leaves, and "action" where the space has no bounds."""
        leaves = [part.leaf.name for part in self.encoder.features.parts if needs_statistics(part)]
        return leaves + ["action"] * self.actions.is_open

    def fit_normaliser(self, columns: Mapping[str, Array]) -> None:
        """Set the statistics from training data: leaf name -> [R, ...], and "action" -> [R, ...] labels.

        Raises:
            InputError: a column that is needed is missing, empty or not finite.
        """
        self.fit(moments_of({name: columns[name] for name in self.needs if name in columns}))

    def fit(self, statistics: Mapping[str, Moments]) -> list[str]:
        """Set the statistics from those of the training data; return the names of constant dimensions, such as `obs[3]`.

        Args:
            statistics: of what `needs` names.

        Raises:
            InputError: one is missing.
        """
        missing = [name for name in self.needs if name not in statistics]
        if missing:
            raise InputError(f"the statistics of {missing[0]} need training data: give at least one episode with that column")
        constant = self.encoder.features.fit(statistics, self.config.std_floor)
        for encoder, _ in self._networks()[1:]:
            encoder.features.load_state_dict(self.encoder.features.state_dict())
        self.actions.fit(statistics.get("action"))
        self._check_fitted()
        return constant

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

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss [B]: what DistributedDataParallel and torch.compile call."""
        return self.loss(batch)

    def loss(self, batch: Batch, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each window [B]: the mean over its steps that are no pads, and over the members.

        Weights apply outside.

        Args:
            batch: tensors on the policy's device.
            generator: for heads whose loss is random.
        """
        self._require_fitted()
        actions_BTA = self.actions.encode(batch.actions)
        losses = [
            head.loss(encoder(batch.observations), actions_BTA, generator=generator) for encoder, head in self._networks()
        ]
        loss_BT = torch.stack(losses).mean(0) if self.members else losses[0]
        loss_BT = loss_BT.masked_fill(batch.is_pad, 0.0)
        if self.config.chunk == 1:
            return loss_BT.squeeze(1)
        num_valid_B: Tensor = (~batch.is_pad).sum(1).clamp(min=1)
        return loss_BT.sum(1) / num_valid_B

    def plan(self, observations: Mapping[str, Tensor], noise_NK: Tensor | None) -> Tensor:
        """Return head actions [N, T, A] for windows [N, H, ...]: the mode, or the sample that `noise_NK` leads to.

        An ensemble gives the mean of its members' modes, or their majority; the noise has no effect.
        """
        self._require_fitted()
        if self.members:
            modes_MNTA = torch.stack([head.mode(encoder(observations)) for encoder, head in self._networks()])
            return modes_MNTA.mean(0) if self.action.leaf.kind == "box" else vote(modes_MNTA)
        context_ND = self.encoder(observations)
        return self.head.mode(context_ND) if noise_NK is None else self.head.sample_from(context_ND, noise_NK)

    def initial_state(self, num_envs: int) -> State:
        """Return the state of `num_envs` episodes that are about to begin."""
        device = next(self.parameters()).device
        fresh = torch.ones(num_envs, dtype=torch.bool, device=device)
        return State(history=None, fresh=fresh, queue=None, used=torch.zeros(num_envs, dtype=torch.long, device=device))

    @torch.no_grad()
    def act(
        self, observations: Mapping[str, Tensor], state: State, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Return actions [N, ...] in the environment's space, and the next state.

        Args:
            observations: leaf name -> [N, ...].
            state: from `initial_state` or the last `act`.
            generator: draws the actions; None takes the mode, as an ensemble always does.
        """
        windows = {name: self._push(name, value, state) for name, value in observations.items()}
        replan = state.fresh | (state.used >= self.config.num_executed)
        queue, used = state.queue, torch.where(replan, 0, state.used)
        if queue is None or bool(replan.any()):
            shape = (len(replan), self.head.noise_size)
            draw = torch.rand if self.head.noise_kind == "uniform" else torch.randn
            noise = None if generator is None else draw(shape, generator=generator, device=replan.device)
            chunk = self.actions.decode(self.plan(windows, noise))
            keep = replan.reshape(-1, *[1] * (chunk.ndim - 1))
            queue = chunk if queue is None else torch.where(keep, chunk, queue)
        actions = queue[torch.arange(len(used), device=used.device), used]
        return actions, State(history=windows, fresh=torch.zeros_like(state.fresh), queue=queue, used=used + 1)

    def ref(self, version: int) -> PolicyRef:
        """Return a copy of the policy as plain data."""
        arrays = {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}
        spec = PolicySpec(config=self.config, observation=self.observation, action=self.action)
        return PolicyRef(version=version, spec=spec, arrays=arrays)

    @staticmethod
    def from_ref(ref: PolicyRef) -> Policy:
        """Return the policy of a `PolicyRef`; InputError if arrays and spec don't fit."""
        config, observation, action = ref.spec.config, ref.spec.observation, ref.spec.action
        with torch.device("meta"):  # which allocates nothing: the arrays decide whether a network of this size is made
            encoder, head = _network(config.resolve(observation, action), observation, action, 0)
        for prefix, part in (("encoder", encoder), ("head", head)):
            _require_shapes({f"{prefix}.{name}": value for name, value in part.state_dict().items()}, ref.arrays)
        policy = Policy(config, observation, action)
        policy.load_arrays(ref.arrays)
        return policy

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Take weights and statistics from a ref's arrays; InputError names the first that doesn't fit."""
        own = self.state_dict()
        _require_shapes(own, arrays)
        if more := sorted(arrays.keys() - own.keys()):
            shape = arrays[more[0]].shape
            raise InputError(f"policy weights {more[0]}: found {shape}, expected nothing; use the config that made them")
        self.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})

    def _push(self, name: str, value: Tensor, state: State) -> Tensor:
        first = value.unsqueeze(1).expand(-1, self.config.obs_horizon, *value.shape[1:])
        if state.history is None or self.config.obs_horizon == 1:
            return first
        rolled = torch.cat([state.history[name][:, 1:], value.unsqueeze(1)], 1)
        return torch.where(state.fresh.reshape(-1, *[1] * value.ndim), first, rolled)

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
                "the policy has no observation statistics: call fit_normaliser(columns) on the training data first"
            )
