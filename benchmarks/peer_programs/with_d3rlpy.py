"""d3rlpy's BC: its default network (2x256) with the batch size of the task and standardised observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import Clock, Enough, Schedule, main, steps


def train(spec: dict[str, Any], clock: Clock) -> None:
    """Run BC until the budget is used up."""
    import d3rlpy
    from d3rlpy.algos import BCConfig, DiscreteBCConfig
    from d3rlpy.preprocessing import StandardObservationScaler

    d3rlpy.seed(spec["seed"])
    data = steps(spec["demonstrations"])
    is_discrete = spec["action"]["kind"] == "discrete"
    dataset = d3rlpy.dataset.MDPDataset(
        observations=data["obs"].astype(np.float32),
        actions=data["actions"].reshape(len(data["obs"]), -1),
        rewards=data["rewards"].astype(np.float32),
        terminals=data["terminated"].astype(np.float32),
        timeouts=(data["ends"] & ~data["terminated"].astype(bool)).astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE if is_discrete else d3rlpy.ActionSpace.CONTINUOUS,
    )
    settings = {"batch_size": spec["settings"]["batch_size"], "observation_scaler": StandardObservationScaler()}
    algorithm = (DiscreteBCConfig if is_discrete else BCConfig)(**settings).create(device="cpu:0")
    schedule = Schedule(clock, spec, settings["batch_size"], lambda path: algorithm.save_policy(f"{path}.pt"))
    clock.say("train")
    try:
        algorithm.fit(
            dataset,
            n_steps=1 << 40,
            n_steps_per_epoch=1 << 20,
            logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
            callback=lambda *_: schedule.step(),
            show_progress=False,
        )
    except Enough:
        clock.say("rest")


def load(spec: dict[str, Any], path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the saved policy, which TorchScript runs without d3rlpy."""
    policy = torch.jit.load(f"{path}.pt")

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(policy(torch.as_tensor(observations, dtype=torch.float32)))

    return act


if __name__ == "__main__":
    main(train, load)
