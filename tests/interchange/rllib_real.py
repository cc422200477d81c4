"""What the tests let RLlib itself do, in a process of its own: `ast.parse` no longer works in one that has trained with it.

Usage: rllib_real.py RAY_ADDRESS JOBS, where JOBS is a JSON list of [function, argument, ...]. It prints one result per job.
"""

from __future__ import annotations

import json
import sys
import warnings


def record(path: str, env: str, layout: str) -> dict[str, object]:
    """Record three times 40 steps of two environments."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

    config = PPOConfig().environment(env).env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    config = config.offline_data(output=path, output_write_episodes=layout == "episodes", output_compress_columns=[])
    runner = OfflineSingleAgentEnvRunner(config=config.debugging(seed=3), worker_index=1)
    for _ in range(3):
        runner.sample(num_timesteps=40)
    runner.stop()
    return {}


def clone(path: str, kind: str, layout: str) -> dict[str, object]:
    """Run one iteration of RLlib's BC on three episodes."""
    import numpy as np
    from gymnasium import spaces
    from ray.rllib.algorithms.bc import BCConfig

    observation = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action = spaces.Discrete(3) if kind == "discrete" else spaces.Box(-1.0, 1.0, (2,), np.float32)
    config = (
        BCConfig()
        .environment(observation_space=observation, action_space=action, normalize_actions=False)
        .offline_data(input_=[path], input_read_episodes=layout == "episodes", dataset_num_iters_per_learner=3)
        .training(train_batch_size_per_learner=25, lr=1e-3)
        .learners(num_learners=0)
        .env_runners(num_env_runners=0)
    )
    if layout == "episodes":
        config = config.offline_data(input_read_batch_size=3)
    algorithm = config.build_algo()
    try:
        result = algorithm.train()["learners"]["default_policy"]
    finally:
        algorithm.stop()
    return {"loss": float(result["policy_loss"]), "steps": int(result["num_module_steps_trained_lifetime"])}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import ray

    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
    results = [{"record": record, "clone": clone}[job](*arguments) for job, *arguments in json.loads(sys.argv[2])]
    print("RESULT", json.dumps(results))  # noqa: T201
