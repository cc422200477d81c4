"""robomimic's BC on distil's export: its defaults, with the task's network and batch size, and normalised observations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from common import Clock, Enough, Schedule, main

_KEY = "flat"


def without_images() -> None:
    """Put empty modules in place of torchvision, which robomimic imports for images and which needs torch's CUDA build."""
    for name in ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.transforms.functional"):
        module = sys.modules[name] = ModuleType(name)
        module.Lambda = module.Compose = None  # type: ignore[attr-defined]
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def build(spec: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the configuration, the algorithm and the training set."""
    import robomimic.utils.file_utils as files
    import robomimic.utils.obs_utils as observations
    import robomimic.utils.train_utils as training
    from robomimic.algo import algo_factory
    from robomimic.config import config_factory

    settings = spec["settings"]
    torch.manual_seed(spec["seed"])
    np.random.seed(spec["seed"])  # noqa: NPY002
    config = config_factory("bc")
    with config.values_unlocked():
        config.train.data = spec["demonstrations"]
        config.train.batch_size = settings["batch_size"]
        config.train.hdf5_cache_mode = "all"
        config.train.hdf5_normalize_obs = True
        config.train.num_data_workers = 0
        config.observation.modalities.obs.low_dim = [_KEY]
        config.algo.actor_layer_dims = tuple(settings["net"])
        config.algo.optim_params.policy.learning_rate.initial = settings["lr"]
    observations.initialize_obs_utils_with_config(config)
    shapes = files.get_shape_metadata_from_dataset(spec["demonstrations"], all_obs_keys=config.all_obs_keys, verbose=False)
    dataset, _ = training.load_data_for_training(config, obs_keys=shapes["all_obs_keys"])
    algorithm = algo_factory(
        config.algo_name, config, obs_key_shapes=shapes["all_shapes"], ac_dim=shapes["ac_dim"], device=torch.device("cpu")
    )
    return config, algorithm, dataset


def train(spec: dict[str, Any], clock: Clock) -> None:
    """Run BC until the budget is used up."""
    import robomimic.utils.train_utils as training
    from torch.utils.data import DataLoader

    config, algorithm, dataset = build(spec)
    statistics = dataset.get_obs_normalization_stats()
    loader = DataLoader(dataset, batch_size=config.train.batch_size, shuffle=True, drop_last=True)

    def save(path: str) -> None:
        torch.save(algorithm.serialize(), path)
        np.savez(f"{path}.npz", **{name: np.asarray(value) for name, value in statistics[_KEY].items()})

    schedule = Schedule(clock, spec, config.train.batch_size, save)
    clock.say("train")
    try:
        for epoch in range(1 << 40):
            training.run_epoch(algorithm, loader, epoch, num_steps=50)  # the data set normalises already
            schedule.step(50)
    except Enough:
        clock.say("rest")


def load(spec: dict[str, Any], path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the saved policy's actions."""
    _, algorithm, _ = build(spec)
    algorithm.deserialize(torch.load(path, weights_only=True))
    algorithm.set_eval()
    statistics = np.load(f"{path}.npz")
    mean, scale = statistics["mean"].reshape(1, -1), statistics["std"].reshape(1, -1)

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            inputs = torch.as_tensor((observations - mean) / scale, dtype=torch.float32)
            return np.asarray(algorithm.get_action({_KEY: inputs}))

    return act


if __name__ == "__main__":
    without_images()
    main(train, load)
