"""The protocol between a learner, which feeds batches, and an objective, which owns the maths and its optimisers.

How the protocol is used in one update:

    fit_statistics(sources)          before the first step; not when the update is resumed
    begin(num_steps)                 the same
    prepare(sources)                 once an update, also when it is resumed
    step(batches) ... step(batches)  one batch a stream, each this rank's slice of that stream's global batch
    validate(policy, batch)          every `validate_every` steps, on held-out episodes
    state_dict()                     at each checkpoint

How adversarial imitation or another method of reinforcement learning fits it. `needs` names two streams, such as
{"agent": {"n_step": 3, "every": True}, "demos": {"n_step": 1}}: the learner opens both within one memory budget and passes
`step` one batch of each (`TransitionBatch` where `n_step` is set). The objective owns as many networks and optimisers as it
likes, such as two critics with their targets, a discriminator and a temperature: one `step` may take several optimiser steps,
each on its own loss, and returns one scalar a name ("critic_loss", "actor_loss", ...). What is computed once per update from
whole episodes (advantages, old log-probabilities) is made in `prepare`, which wraps sources in ones that add fields to their
batches. All that must survive a kill, critics and their optimisers included, goes into `state_dict` under flat names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from distil.types import Batch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from distil.policies.policy import Policy
    from distil.rewards.frozen import FrozenReward
    from distil.store.order import SampleSource
    from distil.store.windows import WindowOptions

DEMOS = "demos"  # name of the stream of demonstrations


@dataclass(frozen=True, kw_only=True)
class ObjectiveState:
    """All that an objective needs to continue exactly where it was."""

    tensors: Mapping[str, Tensor]  # flat names, such as `policy.encoder.0.weight`
    counters: Mapping[str, Any]  # JSON


class Objective(Protocol):
    """Learner-side maths: what a learner steps. It owns its networks and optimisers."""

    @property
    def policy(self) -> Policy:
        """The policy that is trained."""

    @property
    def needs(self) -> Mapping[str, WindowOptions]:
        """Stream name -> what a sample of it holds (the fields of `distil.store.windows.Windows`).

        The first stream is the main one: `train/epochs` counts its epochs, and its episodes are held out for validation.
        """

    def fit_statistics(self, sources: Mapping[str, SampleSource]) -> Sequence[str]:
        """Fit statistics that need a pass over all training samples; return notes for the user.

        Called before the first step of each update on new data. Networks that have learned with other statistics become another
        function when these change, so that they should only change where it pays.
        """

    def prepare(self, sources: Mapping[str, SampleSource]) -> Mapping[str, SampleSource]:
        """Return the sources to draw batches from: those given, or ones that add fields to their batches.

        Held-out episodes aren't among them: `validate` gets their batches as they are stored.

        A resumed update calls it again: what it computes must depend on nothing that `step` changes, unless it is kept in
        `state_dict`.
        """

    def begin(self, num_steps: int) -> None:
        """Start an update of `num_steps` gradient steps: learning-rate schedules restart."""

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Train on this rank's slice of each stream's global batch.

        Args:
            batches: stream name -> tensors on the policy's device.

        Returns:
            Name -> scalar, still on the device; the means over recent steps and ranks become the metrics `train/NAME`. The
            first one is shown as progress.
        """

    def validate(self, policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the held-out loss of each sample, [B], of `policy`, which `evaluation_policy` returned.

        Args:
            policy: to validate; gradients are off.
            batch: of the main stream's held-out episodes.
            generator: of the loss's randomness.
        """

    def figures(self) -> Mapping[str, float]:
        """Return further metrics of the last step that are no tensors, such as `learning_rate`."""

    def reseed(self, seed: int) -> None:
        """Restart the randomness of the loss at `seed`."""

    def evaluation_policy(self) -> Policy:
        """Return an independent copy of the policy that is to be evaluated and saved, in evaluation mode."""

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the weights of an earlier `evaluation_policy`, as both the trained and the evaluated ones."""

    def state_dict(self) -> ObjectiveState:
        """Return the state; its tensors may share memory with the objective's."""

    def load_state_dict(self, state: ObjectiveState) -> None:
        """Take over `state`; ValueError names the first tensor that doesn't fit."""


@runtime_checkable
class Rewarding(Protocol):
    """What an objective has that learns a reward beside its policy."""

    def evaluation_reward(self) -> FrozenReward | None:
        """Return an independent copy of the reward that is to be saved; None: it has none to keep."""
