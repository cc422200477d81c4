"""The spaces that `search: default` stands for: what usually matters for an algorithm, around values that work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SUPERVISED: Mapping[str, Any] = {
    "learner.learning_rate": {"loguniform": [3e-4, 1e-2]},
    "learner.weight_decay": {"choice": [0.0, 1e-4, 1e-2]},
    "learner.batch_size": {"choice": [64, 128, 256]},
}
_OFF_POLICY: Mapping[str, Any] = {
    "learner.learning_rate": {"loguniform": [2e-4, 3e-3]},
    "learner.batch_size": {"choice": [64, 128]},
    "algorithm.updates_per_step": {"choice": [0.25, 0.5, 1.0]},
}
_ON_POLICY: Mapping[str, Any] = {
    "learner.learning_rate": {"loguniform": [1e-4, 3e-3]},
    "learner.batch_size": {"choice": [64, 128, 256]},
    "algorithm.steps_per_round": {"choice": [1024, 2048, 4096]},
}
_LEARNED_REWARD: Mapping[str, Any] = {"algorithm.reward.rate": {"loguniform": [0.1, 3.0]}}

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "bc": _SUPERVISED,
    "dagger": {**_SUPERVISED, "algorithm.from_scratch": {"choice": [False, True]}},
    "sqil": _OFF_POLICY,
    "iq": {**_OFF_POLICY, "algorithm.step.regulariser": {"loguniform": [0.1, 5.0]}},
    "dac": {**_OFF_POLICY, **_LEARNED_REWARD, "algorithm.reward.gradient_penalty": {"choice": [1.0, 10.0]}},
    "mce_irl": {"algorithm.l2": {"loguniform": [1e-6, 1e-2]}, "algorithm.discount": {"choice": [0.9, 0.95, 0.99]}},
    "ml_irl": {**_OFF_POLICY, "algorithm.reward.rate": {"loguniform": [0.01, 0.3]}},
    "pwil": {**_OFF_POLICY, "algorithm.reward.bandwidth": {"choice": [2.0, 5.0, 10.0]}},
    "csil": {**_OFF_POLICY, "algorithm.step.anchor": {"loguniform": [0.3, 30.0]}},
    "gail": {**_ON_POLICY, **_LEARNED_REWARD},
    "airl": {**_ON_POLICY, **_LEARNED_REWARD},
    "rl": {"learner.learning_rate": {"loguniform": [1e-4, 3e-3]}},
}
"""Algorithm -> dotted key -> distribution, as a sweep's file has them."""
