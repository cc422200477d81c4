"""Objectives as users write them, that tests train with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from distil.objectives.adamw import AdamW
from distil.objectives.base import ObjectiveState
from distil.objectives.gradient import GradientObjective
from distil.objectives.supervised import Supervised
from distil.store.order import SampleSource
from distil.types import Batch

DISCOUNT = 0.9


class Critics(GradientObjective):
    """Imitates demonstrations, and follows the smaller of two critics that learn from the agent's own steps.

    Two streams with other windows, three networks, two optimisers: what reinforcement learning asks of the protocol.
    """

    def __init__(self, policy, optimiser, ranks):
        super().__init__(policy, optimiser, ranks)
        self._num_actions = int(np.prod(policy.action.leaf.shape))
        num_inputs = sum(int(np.prod(leaf.shape)) for leaf in policy.observation.leaves) + self._num_actions
        self.critics = nn.Linear(num_inputs, 2)
        with torch.no_grad():
            for weight in self.critics.parameters():
                weight.copy_(torch.linspace(-0.1, 0.1, weight.numel()).view(weight.shape))
        self._critics_adamw = AdamW(dict(self.critics.named_parameters()), weight_decay=0.0, max_norm=None)

    @property
    def needs(self):
        return {**super().needs, "agent": {"n_step": 3, "every": True}}

    def values(self, observations, actions):
        parts = [value.flatten(1) for value in observations.values()]
        return self.critics(torch.cat([*parts, actions.flatten(1)], 1))

    def loss(self, policy, batches, generator):
        loss_B = policy.loss(batches["demos"], generator=generator)
        if "agent" not in batches:  # validation
            return loss_B
        seen = batches["agent"].observations
        return loss_B - 0.1 * self.values(seen, policy.plan(seen, None)).amin(1).mean()

    def step(self, batches):
        batch = batches["agent"]
        with torch.no_grad():
            ahead = batch.next_observations
            future = self.values(ahead, self.policy.plan(ahead, None)).amin(1) * ~batch.terminated
            discounts = DISCOUNT ** torch.arange(batch.rewards.shape[1])
            target = (batch.rewards * discounts).sum(1) + DISCOUNT**batch.num_steps * future
        values = self.values(batch.observations, batch.executed.float())
        critic_loss = mse_loss(values, target[:, None].expand_as(values))
        self._critics_adamw.zero_grad()
        critic_loss.backward()
        self._critics_adamw.step(1e-2)
        return {**super().step(batches), "critic_loss": critic_loss.detach()}

    def state_dict(self):
        state = super().state_dict()
        own = {f"critics.{name}": value for name, value in self.critics.state_dict().items()}
        own |= {f"critics_adamw.{name}": value for name, value in self._critics_adamw.tensors().items()}
        return ObjectiveState(tensors={**state.tensors, **own}, counters=state.counters)

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.critics.load_state_dict({name: state.tensors[f"critics.{name}"] for name in self.critics.state_dict()})
        own = {name: state.tensors[f"critics_adamw.{name}"] for name in self._critics_adamw.tensors()}
        self._critics_adamw.load(own)


class Gentle(GradientObjective):
    """Imitates demonstrations, and prefers small actions where the agent has been."""

    @property
    def needs(self):
        return {**super().needs, "agent": {"every": True}}

    def loss(self, policy, batches, generator):
        small_B = policy.plan(batches["agent"].observations, None).square().mean((1, 2))
        return policy.loss(batches["demos"], generator=generator) + 0.5 * small_B


@dataclass(frozen=True, kw_only=True)
class ScoredBatch(Batch):
    """A batch with a number for each sample."""

    scores: Any  # [B]


class Scores(SampleSource):
    """The samples of another source, with scores: the sums of their actions."""

    def __init__(self, source):
        self.source = source
        self.tier, self.is_weighted, self.rows_are_alike = source.tier, source.is_weighted, source.rows_are_alike

    num_samples = property(lambda self: self.source.num_samples)
    spec = property(lambda self: self.source.spec)

    def transitions(self, names, num_rows):
        return self.source.transitions(names, num_rows)

    def stream(self, seed):
        return _ScoredStream(self.source.stream(seed))

    def scan(self, batch_size):
        return map(_scored, self.source.scan(batch_size))


class _ScoredStream:
    def __init__(self, stream):
        self._stream, self.close = stream, stream.close

    def take(self, position, num):
        return _scored(self._stream.take(position, num))


def _scored(batch):
    return ScoredBatch(**batch.__dict__, scores=batch.actions.reshape(len(batch), -1).sum(1))


class Prepared(Supervised):
    """Adds scores to the batches once an update, and reports how far they are from the batch's actions."""

    def prepare(self, sources):
        return {name: Scores(source) for name, source in sources.items()}

    def step(self, batches):
        batch = batches["demos"]
        error = (batch.scores - batch.actions.flatten(1).sum(1)).abs().max()
        return {**super().step(batches), "score_error": error, "score": batch.scores.abs().mean()}
