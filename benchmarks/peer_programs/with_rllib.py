"""RLlib's BC on distil's export of the demonstrations: its defaults, with the network and the batch size of the task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Clock, Enough, Schedule, main
from gymnasium import spaces

_STEPS_A_CALL = 50


def space(data: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that distil describes."""
    if data["kind"] == "discrete":
        return spaces.Discrete(data["n"])
    return spaces.Box(np.array(data["low"]), np.array(data["high"]), tuple(data["shape"]), np.dtype(data["dtype"]))


def train(spec: dict[str, Any], clock: Clock) -> None:
    """Run BC until the budget is used up."""
    import ray
    from ray.rllib.algorithms.bc import BCConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    settings = spec["settings"]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    config = (
        BCConfig()
        .environment(observation_space=space(spec["observation"]), action_space=space(spec["action"]), normalize_actions=False)
        .offline_data(input_=[spec["demonstrations"]], dataset_num_iters_per_learner=_STEPS_A_CALL)
        .training(train_batch_size_per_learner=settings["batch_size"], lr=settings["lr"])
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=settings["net"]))
        .learners(num_learners=0)
        .env_runners(num_env_runners=0)
        .debugging(seed=spec["seed"])
    )
    algorithm = config.build_algo()

    def save(path: str) -> None:
        algorithm.learner_group._learner.module["default_policy"].save_to_path(path)

    schedule = Schedule(clock, spec, settings["batch_size"], save)
    clock.say("train")
    try:
        while True:
            algorithm.train()
            schedule.step(_STEPS_A_CALL)
    except Enough:
        clock.say("rest")
    algorithm.stop()
    ray.shutdown()


def load(spec: dict[str, Any], path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the saved policy's most likely actions."""
    from ray.rllib.core.rl_module.rl_module import RLModule

    module = RLModule.from_checkpoint(str(Path(path).resolve()))

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            out = module.forward_inference({"obs": torch.as_tensor(observations, dtype=torch.float32)})["action_dist_inputs"]
        values: np.ndarray = out.numpy()
        return values.argmax(-1) if spec["action"]["kind"] == "discrete" else values[:, : values.shape[1] // 2]

    return act


if __name__ == "__main__":
    main(train, load)
