"""A policy in N environment slots: observation history, plans and noise of each slot, numpy where it can.

Each slot's episode depends on the weights and its seed only: not on the slot, nor on what the other slots do. For that the
network always sees exactly N rows. Nothing here imports torch unless the policy needs it.

Legend: N slots, H observation horizon, E executed actions of a chunk, T action chunk, A action dimension, K noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from distil.errors import InputError
from distil.policies.actions import Decoder
from distil.policies.config import ActMode
from distil.policies.ensemble import EnsemblePlanner, Planner, members
from distil.policies.noise import slot_noise
from distil.policies.numpy_policy import numpy_policy
from distil.policies.overlap import Overlap
from distil.policies.relative import Origin
from distil.policies.spec import PolicyRef
from distil.types import Array, Observations

_on_gpu = False


def act_on_gpu() -> None:
    """Run the policies that need torch on the GPU, those that this process makes from now on."""
    global _on_gpu
    _on_gpu = True


class Acting:
    """See `acting`.

    Attributes:
        doubt: [N] float32, an ensemble's doubt about the actions that `act` returned last (see `distil.policies.ensemble`), an
            array of its own. A queued action keeps the doubt of the plan that it is from; an average of plans has that of the
            newest one, which saw the current observation. None for a single network.
    """

    def __init__(self, ref: PolicyRef, planner: Planner, num_envs: int, *, act: ActMode) -> None:
        config = ref.spec.config
        self._planner, self._num = planner, num_envs
        self._decode = Decoder(ref.spec.action.leaf, ref.arrays)
        self._horizon, self._execute = config.obs_horizon, config.num_executed
        self._history: dict[str, Array] = {}
        self._fresh = np.ones(num_envs, np.bool_)
        self._any_fresh = True
        self._rows = np.arange(num_envs)
        self._queue: Array | None = None  # [N, E, A] head actions
        self._doubts: Array | None = None  # [N, E] of the queue, where the policy is an ensemble
        self._used = np.full(num_envs, self._execute)
        averaged = config.temporal_ensemble
        self._overlap = None if averaged is None else Overlap(num_envs, config.chunk, averaged.decay)
        random = act == "sample" and planner.noise_kind != "none"
        self._noise = slot_noise(num_envs, planner.noise_size, planner.noise_kind) if random else None
        self.doubt: Array | None = None

    def begin(self, slot: int, seed: int) -> None:
        """Start a new episode in `slot`: its history and its plans are dropped, its noise follows `seed`."""
        self._fresh[slot] = self._any_fresh = True
        self._used[slot] = self._execute
        if self._overlap is not None:
            self._overlap.begin(slot)
        if self._noise is not None:
            self._noise.begin(slot, seed)

    def act(self, observations: Observations) -> Array:
        """Return the actions of one step, a new array [N, ...] in the environment's space, dtype and bounds.

        Args:
            observations: leaf name -> [N, ...], all slots, idle ones included (their rows are ignored by the others).
        """
        windows = observations if self._horizon == 1 else self._push(observations)
        if self._execute == 1:
            noise = None if self._noise is None else self._noise.take()
            plan = self._planner.plan(windows, noise)
            actions = plan[:, 0] if self._overlap is None else self._overlap.average(plan)
            self.doubt = None if self._planner.doubt is None else self._planner.doubt[:, 0]
            return self._decode(actions)
        return self._decode(self._from_queue(windows))

    def _push(self, observations: Observations) -> dict[str, Array]:
        if not self._history:
            shape = (self._num, self._horizon)
            self._history = {name: np.empty((*shape, *v.shape[1:]), v.dtype) for name, v in observations.items()}
        for name, window in self._history.items():
            value = observations[name]
            window[:, :-1] = window[:, 1:]
            window[:, -1] = value
            if self._any_fresh:
                window[self._fresh] = value[self._fresh][:, None]
        self._fresh[:] = self._any_fresh = False
        return self._history

    def _from_queue(self, windows: Mapping[str, Array]) -> Array:
        empty = self._used >= self._execute
        if empty.any():
            noise = None if self._noise is None else self._noise.take(empty)
            chunk = self._planner.plan(windows, noise)[:, : self._execute]
            if self._queue is None:
                self._queue = np.zeros_like(chunk)
            self._queue[empty] = chunk[empty]
            self._used[empty] = 0
            doubts = self._planner.doubt
            if doubts is not None:
                self._doubts = np.zeros_like(doubts) if self._doubts is None else self._doubts
                self._doubts[empty] = doubts[empty]
        assert self._queue is not None
        actions: Array = self._queue[self._rows, self._used]
        self.doubt = None if self._doubts is None else self._doubts[self._rows, self._used]
        self._used += 1
        return actions


def acting(ref: PolicyRef, num_envs: int, *, act: ActMode = "point") -> Acting:
    """Return the policy ready to act in `num_envs` slots.

    Args:
        ref: the policy.
        num_envs: N, the number of rows of every call.
        act: the default action ("point"), or a sample from noise that depends on the episode's seed alone.

    Raises:
        InputError: the ref's arrays don't fit its spec.
    """
    with _fitting():
        return Acting(ref, _planner(ref, num_envs), num_envs, act=act)


@contextmanager
def _fitting() -> Iterator[None]:
    """Turn what building a policy raises, whose spec makes sense but isn't that of its arrays, into InputError."""
    try:
        yield
    except InputError:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        AssertionError,
        RuntimeError,
        MemoryError,
    ) as error:
        detail = str(error).split("\n", 1)[0][:200] or type(error).__name__
        raise InputError(
            f"the policy's weights don't fit its configuration ({detail}); copy its file again or retrain"
        ) from None


def replay(ref: PolicyRef, windows: Mapping[str, Array], *, block: int = 256) -> tuple[Array, Array | None]:
    """Return what a policy would do at each of R windows, and its doubt there: what it would do first, of a chunk.

    It is what `Acting.act` does at a step that sees the window, and its `doubt`, up to rounding; with a temporal ensemble, what
    the plan made there says, without the older ones.

    Args:
        ref: the policy.
        windows: leaf name -> [R, H, ...], or [R, ...] when H is 1: stored observations, as they are.
        block: rows of one forward pass.

    Returns:
        Actions [R, ...] in the environment's space, and doubts [R] float32; None of a single network.

    Raises:
        InputError: the ref's arrays don't fit its spec.
    """
    num = len(next(iter(windows.values())))
    if ref.spec.config.obs_horizon == 1:
        shapes = {leaf.name: leaf.shape for leaf in ref.spec.observation.leaves}
        windows = {name: value.reshape(num, *shapes[name]) for name, value in windows.items()}
    leaf = ref.spec.action.leaf
    with _fitting():
        planner, decode = _planner(ref, block), Decoder(leaf, ref.arrays)
    actions, doubts = np.empty((num, *leaf.shape), leaf.dtype), np.empty(num, np.float32)
    for start in range(0, num, block):
        rows = np.arange(start, start + block).clip(max=num - 1)  # the last block is filled up with the last row
        plan = planner.plan({name: value[rows] for name, value in windows.items()}, None)
        actions[start : start + block] = decode(plan[:, 0])[: num - start]
        if planner.doubt is not None:
            doubts[start : start + block] = planner.doubt[: num - start, 0]
    return actions, doubts if ref.spec.config.ensemble > 1 else None


class RelativePlanner:
    """A planner whose actions were learned relative to an observation.

    Args:
        planner: plans them.
        origin: what they are relative to.
        half_width: of the actions' scaling, [A].
        horizon: H.
    """

    def __init__(self, planner: Planner, origin: Origin, half_width: Array, horizon: int) -> None:
        self._planner, self._origin, self._windowed = planner, origin, horizon > 1
        self._scale = 1 / half_width.astype(np.float32)
        self.noise_kind, self.noise_size = planner.noise_kind, planner.noise_size

    @property
    def doubt(self) -> Array | None:
        """The doubt [N, T] of the last plan."""
        return self._planner.doubt

    def plan(self, windows: Mapping[str, Array], noise: Array | None) -> Array:
        """Return head actions [N, T, A] as if they had been absolute: `Decoder` need not know."""
        values = windows[self._origin.leaf]
        origin_NA = self._origin.of(values[:, -1] if self._windowed else values)
        moved: Array = self._planner.plan(windows, noise) + (origin_NA * self._scale)[:, None]
        return moved


def _planner(ref: PolicyRef, num_envs: int) -> Planner:
    planners = [_single(member, num_envs) for member in members(ref)]
    planner = planners[0] if len(planners) == 1 else EnsemblePlanner(planners, ref.spec.head.combine)
    config, origin = ref.spec.config, ref.spec.config.actions.origin(ref.spec.observation, ref.spec.action.leaf)
    if origin is None:
        return planner
    return RelativePlanner(planner, origin, ref.arrays["actions.half_width"], config.obs_horizon)


def _single(ref: PolicyRef, num_envs: int) -> Planner:
    twin = numpy_policy(ref, num_envs)
    if twin is not None:
        return twin
    from distil.policies.torch_planner import TorchPlanner

    return TorchPlanner(ref, on_gpu=_on_gpu)
