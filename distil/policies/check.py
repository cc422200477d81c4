"""The user's own head and backbone, tried on a tiny batch before anything starts: methods, shapes, randomness, exceptions.

Legend: B batch, H observation horizon, L tokens, T action chunk, A action dimension (or factor), D context, K noise.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from distil.errors import InputError
from distil.heads.base import Context, Head, HeadLoss
from distil.heads.config import ImportHeadConfig
from distil.nn.imported import naming_faults
from distil.policies.config import ImportEncoderConfig, PolicyConfig
from distil.policies.policy import Policy
from distil.spaces import Leaf, SpaceSpec
from distil.types import Array

_B, _ROWS = 3, 8
_WIDTH = 10.0  # of random values, on each side of 0
_TOLERANCE = 1e-4  # between a head and its numpy twin


def try_out(config: PolicyConfig, observation: SpaceSpec, action: SpaceSpec, *, supervised: bool = True) -> None:
    """Raise InputError, one line that names the class, if a class that `config` names does not keep its contract.

    Args:
        config: the policy's configuration.
        observation: the observation space.
        action: the action space.
        supervised: it is trained by its own loss alone, so each of its weights must take part in this loss.
    """
    config = config.model_copy(update={"ensemble": 1})
    policy, rng = Policy(config, observation, action), np.random.default_rng(0)
    columns = {leaf.name: random_values(leaf, _ROWS, rng) for leaf in observation.leaves}
    policy.fit_normaliser(columns | {"action": random_values(action.leaf, _ROWS, rng)})
    windows = {leaf.name: _windows(leaf, config.obs_horizon, rng) for leaf in observation.leaves}
    labels_BTA = policy.actions.encode(_windows(action.leaf, config.chunk, rng), windows)
    policy.fit_labels(labels_BTA)
    if isinstance(config.encoder, ImportEncoderConfig):
        target = config.encoder.target
        with naming_faults(target, "policy.encoder", "forward"):
            contexts = [policy.encoder(windows) for _ in range(2)]
        _require_context(contexts[0], policy.encoder.num_out, f"policy.encoder {target}")
        if not torch.equal(contexts[0].pooled_BD, contexts[1].pooled_BD):
            raise InputError(
                f"policy.encoder {target}: forward gives other contexts for the same observations, so a resumed run would "
                "differ; remove dropout and other random parts"
            )
    if isinstance(config.head, ImportHeadConfig):
        _try_head(policy, config.head, windows, labels_BTA)
    if supervised:
        _require_used_weights(policy, windows, labels_BTA)


def _try_head(policy: Policy, config: ImportHeadConfig, windows: dict[str, Tensor], labels_BTA: Tensor) -> None:
    head, what = policy.head, f"policy.head {config.target}"
    if policy.actions.is_open and type(head).rescale is Head.rescale:
        raise InputError(f"{what}: has no method rescale, which an action space without bounds needs; define it")
    is_pad_BT = torch.zeros(labels_BTA.shape[:2], dtype=torch.bool)
    with naming_faults(config.target, "policy.head", "loss"):
        found = [
            head.loss(policy.encoder(windows), labels_BTA, is_pad_BT, generator=torch.Generator().manual_seed(0))
            for _ in range(2)
        ]
        _require_loss(found, is_pad_BT, what)
        torch.autograd.backward(found[0].loss_BT.sum())
    with torch.no_grad():
        context = policy.encoder(windows)
        with naming_faults(config.target, "policy.head", "point"):
            point_BTA = head.point(context)
        _require_actions(point_BTA, labels_BTA, f"{what}: point")
        noise_BK = _noise(policy, what)
        with naming_faults(config.target, "policy.head", "sample_from"):
            samples = [head.sample_from(context, noise_BK) for _ in range(2)]
        _require_actions(samples[0], labels_BTA, f"{what}: sample_from")
        if not torch.equal(*samples):
            raise InputError(f"{what}: sample_from gives other actions for the same noise; draw from noise_BK alone")
        with naming_faults(config.target, "policy.head", "numpy_twin"):
            _compare_twin(policy, config, context, (point_BTA, samples[0]), noise_BK, what)


def _require_used_weights(policy: Policy, windows: dict[str, Tensor], labels_BTA: Tensor) -> None:
    is_pad_BT = torch.zeros(labels_BTA.shape[:2], dtype=torch.bool)
    found = policy.head.loss(policy.encoder(windows), labels_BTA, is_pad_BT, generator=torch.Generator().manual_seed(0))
    policy.zero_grad()
    torch.autograd.backward(found.loss_BT.sum())
    for name, weight in policy.named_parameters():
        if weight.requires_grad and weight.grad is None:
            raise InputError(
                f"policy ({', '.join(policy.config.targets)}): the weight {name} takes no part in the loss; use it, remove it, "
                "or set its requires_grad to False"
            )


def _require_context(context: object, num_out: int, what: str) -> None:
    if not isinstance(context, Context):
        raise InputError(f"{what}: forward returns {type(context).__name__}; return distil.heads.base.Context(pooled_BD=...)")
    _require_shape(context.pooled_BD, (_B, num_out), f"{what}: pooled_BD")
    if context.pooled_BD.dtype != torch.float32:
        raise InputError(f"{what}: pooled_BD is {context.pooled_BD.dtype}, required: torch.float32; convert it")
    if context.tokens_BLD is not None:
        num_tokens = context.tokens_BLD.shape[1] if context.tokens_BLD.ndim == 3 else 1
        _require_shape(context.tokens_BLD, (_B, num_tokens, num_out), f"{what}: tokens_BLD")


def _require_loss(found: list[HeadLoss], is_pad_BT: Tensor, what: str) -> None:
    for each in found:
        if not isinstance(each, HeadLoss):
            raise InputError(f"{what}: loss returns {type(each).__name__}; return distil.heads.base.HeadLoss(loss_BT=...)")
    _require_shape(found[0].loss_BT, tuple(is_pad_BT.shape), f"{what}: loss_BT")
    if not torch.equal(found[0].loss_BT, found[1].loss_BT):
        raise InputError(f"{what}: loss differs for the same generator; draw from `generator` alone")
    for name, value in found[0].extras.items():
        if tuple(value.shape) not in ((), tuple(is_pad_BT.shape)):
            raise InputError(
                f"{what}: extras[{name!r}] has shape {tuple(value.shape)}; give a scalar or {tuple(is_pad_BT.shape)}"
            )


def _require_actions(actions: Tensor, labels_BTA: Tensor, what: str) -> None:
    _require_shape(actions, tuple(labels_BTA.shape), what)
    if actions.is_floating_point() != labels_BTA.is_floating_point():
        raise InputError(f"{what} returns {actions.dtype}, for this action space it must be {labels_BTA.dtype}; convert it")


def _require_shape(value: object, expected: tuple[int, ...], what: str) -> None:
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != expected:
        raise InputError(f"{what} has shape {found} for a batch of {_B}, expected {expected}; fix the class")
    assert isinstance(value, Tensor)
    if not bool(value.isfinite().all()):
        raise InputError(f"{what} is not finite on random observations; fix the class")


def _noise(policy: Policy, what: str) -> Tensor:
    kind, size = policy.head.noise_kind, policy.head.noise_size
    if kind not in ("none", "normal", "uniform") or type(size) is not int or (size > 0) != (kind != "none"):
        raise InputError(
            f'{what}: noise_kind {kind!r} with noise_size {size!r}; give "none" and 0, or "normal" or "uniform" and K'
        )
    draw, generator = torch.rand if kind == "uniform" else torch.randn, torch.Generator().manual_seed(0)
    return draw(_B, size, generator=generator)


def _compare_twin(
    policy: Policy, config: ImportHeadConfig, context: Context, expected: tuple[Tensor, Tensor], noise_BK: Tensor, what: str
) -> None:
    twin = config.numpy_twin(policy.action.leaf, policy.config.chunk)
    if twin is None:
        return
    linear = getattr(policy.head, "linear", None)
    if not isinstance(linear, torch.nn.Linear) or len(list(policy.head.parameters())) > 2:
        raise InputError(f"{what}: has a numpy_twin, but is not one linear layer named `linear`; remove the twin")
    outputs = linear(context.pooled_BD).numpy()
    for torch_actions, noise in zip(expected, (None, noise_BK.numpy()), strict=True):
        actions = twin(outputs.T[None].copy(), _B, noise)
        if actions.shape != tuple(torch_actions.shape) or not np.allclose(actions, torch_actions.numpy(), atol=_TOLERANCE):
            raise InputError(f"{what}: numpy_twin and torch give different actions; fix one of them")


def _windows(leaf: Leaf, length: int, rng: np.random.Generator) -> Tensor:
    """Return random values [B, length, *shape] of a leaf."""
    return torch.from_numpy(random_values(leaf, _B * length, rng).reshape(_B, length, *leaf.shape))


def random_values(leaf: Leaf, num: int, rng: np.random.Generator) -> Array:
    """Return random elements of a leaf's space, [num, ...]."""
    shape = (num, *leaf.shape)
    if leaf.kind != "box":
        return (leaf.start + rng.integers(0, np.reshape(leaf.nvec, leaf.shape), shape)).astype(leaf.dtype)
    low, high = leaf.bounds()
    middle = np.clip(0, low, high)
    values = rng.uniform(np.maximum(low, middle - _WIDTH), np.minimum(high, middle + _WIDTH), shape)
    return (values if np.dtype(leaf.dtype).kind == "f" else np.floor(values)).astype(leaf.dtype)
