"""How weights are stepped: AdamW's settings, the learning rate's schedule, precision. Imports no torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from distil.config import Config


class OptimiserConfig(Config):
    """AdamW (Loshchilov and Hutter, 2019) with warm-up, schedule, clipping and averaged weights."""

    learning_rate: float = Field(default=1e-3, gt=0)  # at its highest
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    grad_clip: float | None = Field(default=1.0, gt=0)  # norm of the whole gradient; null: none
    ema_decay: float | None = Field(default=None, gt=0, lt=1)  # evaluate and save averaged weights; null: the last ones
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast of the forward pass, weights stay fp32
    compile: bool = False  # torch.compile, needs a C compiler


def learning_rate(config: OptimiserConfig, step: int, num_steps: int) -> float:
    """Return the rate of step `step` (from 0) of `num_steps`: linear warm-up, then a half cosine down to 0, or constant.

    The cosine is SGDR's without restarts (Loshchilov and Hutter, 2017, equation 5, eta_min = 0). A plan shorter than ten
    warm-ups warms up over its first tenth.
    """
    warmup = min(config.warmup_steps, num_steps // 10)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
