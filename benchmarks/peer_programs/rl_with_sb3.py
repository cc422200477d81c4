"""Stable-Baselines3's PPO or SAC: `PROGRAM SPEC`, SPEC as JSON; saves the policy and prints what it did as its last line.

SPEC: algorithm, env, steps, seed, policy_kwargs, settings (of the algorithm), out.
"""

from __future__ import annotations

import json
import sys

import torch
from stable_baselines3 import PPO, SAC


def main() -> None:
    """Train and save."""
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    net = {**spec["policy_kwargs"], "activation_fn": getattr(torch.nn, spec["policy_kwargs"]["activation_fn"])}
    algorithm = {"ppo": PPO, "sac": SAC}[spec["algorithm"]]
    model = algorithm("MlpPolicy", spec["env"], seed=spec["seed"], policy_kwargs=net, device="cpu", **spec["settings"])
    model.learn(spec["steps"])
    model.save(spec["out"])
    updates = model._n_updates
    if spec["algorithm"] == "ppo":  # it counts epochs
        updates *= spec["settings"]["n_steps"] // spec["settings"]["batch_size"]
    print(json.dumps({"env_steps": model.num_timesteps, "gradient_steps": updates}))


if __name__ == "__main__":
    main()
