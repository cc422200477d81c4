"""Supervised imitation: minimise the policy's loss on labelled windows, weighted, with AdamW.

Legend: B batch.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distil.objectives.adamw import AdamW
from distil.objectives.base import ObjectiveState
from distil.objectives.config import OptimiserConfig, learning_rate
from distil.objectives.ema import Average
from distil.policies.policy import Policy
from distil.store.moments import Moments
from distil.types import Batch

_PARALLEL = inspect.signature(nn.parallel.DistributedDataParallel).parameters
# Statistics are frozen and equal on all ranks: nothing to send each step. Newer versions of torch renamed the argument.
_OPTIONS: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in _PARALLEL else "broadcast_buffers": False}

_TINY = torch.finfo(torch.float32).tiny


class _Loss(nn.Module):
    """The loss as a module: what torch.compile and DistributedDataParallel take."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self.policy.loss(batch, generator=generator)


class Supervised:
    """The objective of behavioural cloning and DAgger.

    The gradient is that of sum(w * loss) / sum(w) over the global batch, for any number of ranks: equal slices average
    to it, and with weights the denominator is summed over the ranks.
    """

    def __init__(self, policy: Policy, config: OptimiserConfig, *, world_size: int = 1) -> None:
        """Own `policy`, which is on its device already.

        Args:
            policy: what to train; trained in place.
            config: how.
            world_size: number of ranks; above 1, torch.distributed's process group must exist.
        """
        self.policy = policy
        self._config = config
        self._world_size = world_size
        self._device = next(policy.parameters()).device
        self._weights = dict(policy.named_parameters())
        self._adamw = AdamW(self._weights, weight_decay=config.weight_decay, max_norm=config.grad_clip)
        self._average = Average(self._weights, config.ema_decay) if config.ema_decay else None
        self._generator = torch.Generator(self._device)
        self._step = self._num_steps = 0
        self.learning_rate = 0.0  # of the last step
        self._loss = self._loss_function()

    def _loss_function(self) -> Callable[[Batch, torch.Generator], Tensor]:
        module: nn.Module = _Loss(self.policy)
        if self._config.compile:
            module.compile()
        if self._world_size > 1:
            module = nn.parallel.DistributedDataParallel(module, **_OPTIONS)
        if self._config.precision == "fp32":
            return module
        return torch.autocast(self._device.type, dtype=torch.bfloat16)(module)  # type: ignore[no-any-return]

    def begin(self, num_steps: int) -> None:
        """Start a plan of `num_steps` gradient steps: the learning rate's schedule restarts, the moments stay."""
        self._step, self._num_steps = 0, num_steps

    def reseed(self, seed: int) -> None:
        """Restart the randomness of the loss at `seed`."""
        self._generator.manual_seed(seed)

    def widen_actions(self, labels: Moments) -> bool:
        """Widen the policy's action scaling if labels lie outside of it; return whether.

        The averaged weights change as the policy's do, and the optimiser's moments are reset: the loss has another scale.
        """
        averaged = self.evaluation_policy()
        if not self.policy.widen_actions(labels):
            return False
        if self._average is not None:
            averaged.widen_actions(labels)
            self._average.load(dict(averaged.named_parameters()), self._average.num_updates)
        self._adamw = AdamW(self._weights, weight_decay=self._config.weight_decay, max_norm=self._config.grad_clip)
        return True

    def step(self, batches: Mapping[str, Batch]) -> Mapping[str, Tensor]:
        """Take one gradient step on `batches["demos"]`, this rank's slice of the global batch.

        Returns:
            `loss`, whose mean over the ranks is the global batch's, and with clipping `grad_norm` before it; scalars that were
            not waited for.
        """
        batch = batches["demos"]
        self.learning_rate = learning_rate(self._config, self._step, self._num_steps)
        loss = self._mean(self._loss(batch, self._generator), batch.weights)
        self._adamw.zero_grad()
        torch.autograd.backward(loss)
        norm = self._adamw.step(self.learning_rate)
        if self._average is not None:
            self._average.update(self._weights)
        self._step += 1
        return {"loss": loss.detach()} if norm is None else {"loss": loss.detach(), "grad_norm": norm}

    def _mean(self, loss_B: Tensor, weights_B: Tensor | None) -> Tensor:
        """Return this rank's part of the global mean: the ranks' average is it. 0 where nothing weighs anything."""
        if weights_B is None:
            return loss_B.mean()
        total = weights_B.sum()
        if self._world_size > 1:
            torch.distributed.all_reduce(total)
        return (loss_B * weights_B).sum() * self._world_size / total.clamp_min(_TINY)

    def evaluation_policy(self) -> Policy:
        """Return a copy of the policy, in evaluation mode, with the averaged weights if averaging is on."""
        policy = copy.deepcopy(self.policy)
        if self._average is not None:
            policy.load_state_dict(dict(self._average.tensors), strict=False)
        return policy.eval()

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the weights of an earlier `evaluation_policy` back, as both the trained and the evaluated ones."""
        self.policy.load_state_dict(dict(tensors))
        if self._average is not None:
            self._average.load(self._weights, self._average.num_updates)

    def state_dict(self) -> ObjectiveState:
        """Return weights, statistics, moments, averages and counters; the tensors share memory with the objective's."""
        tensors = {f"policy.{name}": value for name, value in self.policy.state_dict().items()}
        tensors |= {f"adamw.{name}": value for name, value in self._adamw.tensors().items()}
        counters = {"step": self._step, "num_steps": self._num_steps}
        if self._average is not None:
            tensors |= {f"ema.{name}": value for name, value in self._average.tensors.items()}
            counters["ema_updates"] = self._average.num_updates
        return ObjectiveState(tensors=tensors, counters=counters)

    def load_state_dict(self, state: ObjectiveState) -> None:
        """Take over `state`; ValueError names the first tensor that is missing or has another shape."""
        own, tensors = self.policy.state_dict(), state.tensors
        wanted = {f"policy.{name}": value for name, value in own.items()}
        if self._average is not None:
            wanted |= {f"ema.{name}": value for name, value in self._weights.items()}
        for name in sorted(wanted | {n: None for n in tensors if n.startswith(("policy.", "ema."))}):
            held, here = (tuple(t[name].shape) if name in t else None for t in (tensors, wanted))
            if held != here:
                raise ValueError(f"{name} is {_shape(held)} there and {_shape(here)} in this configuration")
        self.policy.load_state_dict({name: tensors[f"policy.{name}"] for name in own})
        self._adamw.load({name: tensors[f"adamw.{name}"] for name in self._adamw.tensors()})
        if self._average is not None:
            averages = {name: tensors[f"ema.{name}"] for name in self._weights}
            self._average.load(averages, int(state.counters["ema_updates"]))
        self._step, self._num_steps = int(state.counters["step"]), int(state.counters["num_steps"])


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(shape)
