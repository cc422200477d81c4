"""imitation's GAIL, AIRL and SQIL on CartPole: `PROGRAM SPEC`, SPEC as JSON; prints the curve as its last line.

Settings are those of the notebooks of imitation's documentation ("Train an agent using ..."): GAIL and AIRL with PPO, SQIL with
DQN. Episodes end where CartPole ends them, which imitation allows with `allow_variable_horizon`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gymnasium
import numpy as np
import torch
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.algorithms.sqil import SQIL
from imitation.data.types import Trajectory
from imitation.data.wrappers import RolloutInfoWrapper
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util.networks import RunningNorm
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

NUM_ENVS = 8
NUM_POINTS = 10  # of the curve


def demonstrations(path: str) -> list[Trajectory]:
    """Return the demonstrations as imitation wants them."""
    data = np.load(path)
    num = sum(name.startswith("obs-") for name in data)
    return [Trajectory(obs=data[f"obs-{i}"], acts=data[f"acts-{i}"], infos=None, terminal=True) for i in range(num)]


def adversarial(spec: dict[str, Any], venv: DummyVecEnv) -> Any:
    """Return GAIL or AIRL."""
    is_gail, spaces = spec["algorithm"] == "gail", (venv.observation_space, venv.action_space)
    common = {"batch_size": 64, "ent_coef": 0.0, "gamma": 0.95, "n_epochs": 5, "seed": spec["seed"], "device": "cpu"}
    more = {"learning_rate": 4e-4} if is_gail else {"learning_rate": 5e-4, "clip_range": 0.1, "vf_coef": 0.1}
    return (GAIL if is_gail else AIRL)(
        demonstrations=demonstrations(spec["demonstrations"]),
        demo_batch_size=1024 if is_gail else 2048,
        gen_replay_buffer_capacity=512,
        n_disc_updates_per_round=8 if is_gail else 16,
        venv=venv,
        gen_algo=PPO("MlpPolicy", venv, **common, **more),
        reward_net=(BasicRewardNet if is_gail else BasicShapedRewardNet)(*spaces, normalize_input_layer=RunningNorm),
        allow_variable_horizon=True,
    )


def score(policy: Any, seeds: list[int]) -> float:
    """Return the mean return of the most likely actions on the episodes of these seeds."""
    env, total = gymnasium.make("CartPole-v1"), 0.0
    for seed in seeds:
        observation, is_over = env.reset(seed=seed)[0], False
        while not is_over:
            action, _ = policy.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            total, is_over = total + float(reward), terminated or truncated
    return total / len(seeds)


def main(spec: dict[str, Any]) -> None:
    """Train in equal pieces, and score the policy after each."""
    torch.manual_seed(spec["seed"])
    np.random.seed(spec["seed"])  # noqa: NPY002 imitation's buffers read the global generator
    num_envs = 1 if spec["algorithm"] == "sqil" else NUM_ENVS
    venv = DummyVecEnv([lambda: RolloutInfoWrapper(gymnasium.make("CartPole-v1"))] * num_envs)
    venv.seed(spec["seed"])
    curve, piece, done = list[tuple[int, float]](), spec["num_steps"] // NUM_POINTS, 0
    if spec["algorithm"] == "sqil":
        shown = demonstrations(spec["demonstrations"])
        settings = {"seed": spec["seed"], "learning_starts": 500, "device": "cpu"}
        trainer: Any = SQIL(venv=venv, demonstrations=shown, policy="MlpPolicy", rl_kwargs=settings)
    else:
        trainer = adversarial(spec, venv)
    while done < spec["num_steps"]:
        if spec["algorithm"] == "sqil":
            trainer.train(total_timesteps=piece, reset_num_timesteps=False)
            policy, done = trainer.policy, trainer.rl_algo.num_timesteps
        else:
            trainer.train(max(piece, trainer.gen_train_timesteps))
            policy, done = trainer.gen_algo.policy, trainer.gen_algo.num_timesteps
        curve.append((done, score(policy, spec["episode_seeds"])))
    print(json.dumps({"curve": curve}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
