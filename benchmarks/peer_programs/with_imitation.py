"""imitation's BC and DAgger, with the settings that the task names.

The demonstrations are arrays: reading its own files takes imitation longer. Rollouts for its log are left out, as are all
episodes that only measure a score. With `recipe`, it follows distil's: BC gets whole batches, which imitation takes as well and
which spare it the collating of single steps, the learning rate falls, and a round of DAgger has a number of gradient steps.
`value: false` leaves out the value network, which cloning does not use but computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from common import Clock, Enough, Expert, Schedule, main, steps
from gymnasium import spaces

_OLDER = {"Hopper-v5": "Hopper-v4"}  # the same observations and ends of episodes, bit for bit; only rewards differ
_ACTIVATIONS = {"relu": torch.nn.ReLU, "silu": torch.nn.SiLU}


def space(data: dict[str, Any]) -> spaces.Space[Any]:
    """Return the space that distil describes."""
    if data["kind"] == "discrete":
        return spaces.Discrete(data["n"])
    return spaces.Box(np.array(data["low"]), np.array(data["high"]), tuple(data["shape"]), np.dtype(data["dtype"]))


def policy(spec: dict[str, Any]) -> Any:
    """Return the network: imitation's default, or the one of the settings."""
    from imitation.policies.base import FeedForward32Policy, NormalizeFeaturesExtractor
    from imitation.util.networks import RunningNorm
    from stable_baselines3.common.policies import ActorCriticPolicy

    def no_schedule(_: float) -> float:
        return float(torch.finfo(torch.float32).max)  # imitation's own: its optimiser is not the policy's

    found = {name: space(spec[f"{name}"]) for name in ("observation", "action")}
    args = (found["observation"], found["action"], no_schedule)
    settings = spec["settings"]
    if "net" not in settings:
        return FeedForward32Policy(*args)
    more: dict[str, Any] = {}
    if settings.get("normalise"):
        more = {
            "features_extractor_class": NormalizeFeaturesExtractor,
            "features_extractor_kwargs": {"normalize_class": RunningNorm},
        }
    if "recipe" in settings:
        more["activation_fn"] = _ACTIVATIONS[settings["activation"]]
    net = settings["net"]
    return ActorCriticPolicy(*args, net_arch=net if settings.get("value", True) else {"pi": net, "vf": []}, **more)


def bc(spec: dict[str, Any], demonstrations: Any) -> Any:
    """Return the trainer."""
    from imitation.algorithms.bc import BC

    torch.manual_seed(spec["seed"])
    built = policy(spec)
    return BC(
        observation_space=built.observation_space,
        action_space=built.action_space,
        rng=np.random.default_rng(spec["seed"]),
        policy=built,
        demonstrations=demonstrations,
        batch_size=spec["settings"].get("batch_size", 32),
        optimizer_kwargs={"lr": spec["settings"].get("lr", 1e-3)},
        device="cpu",
    )


class Batches:
    """Shuffled batches, over and over; the last steps of an epoch that fill no batch are left out, as imitation does."""

    def __init__(self, data: dict[str, np.ndarray], size: int, seed: int) -> None:
        self._data = {"obs": torch.as_tensor(data["obs"], dtype=torch.float32), "acts": torch.as_tensor(data["actions"])}
        self._size, self._generator = size, torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        num = len(self._data["obs"])
        for chosen in torch.randperm(num, generator=self._generator)[: num - num % self._size].split(self._size):
            yield {name: values[chosen] for name, values in self._data.items()}


def falling(trainer: Any, num_batches: int) -> Any:
    """Return a schedule of torch: from the trainer's learning rate to 0 along half a cosine."""
    return torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / num_batches, 1)))
    )


def clone(spec: dict[str, Any], clock: Clock) -> None:
    """Run BC until the budget is used up."""
    from imitation.data.types import Transitions

    data, settings = steps(spec["demonstrations"]), spec["settings"]
    infos = np.array([{}] * len(data["obs"]))
    flat = Transitions(
        obs=data["obs"], acts=data["actions"], next_obs=data["next_obs"], dones=data["terminated"].astype(bool), infos=infos
    )
    trainer = bc(spec, Batches(data, settings["batch_size"], spec["seed"]) if "recipe" in settings else flat)
    schedule = Schedule(clock, spec, trainer.batch_size, saver(trainer))
    clock.say("train")
    rate = falling(trainer, spec["budgets"][-1] // trainer.batch_size) if "recipe" in settings else None

    def on_batch_end() -> None:
        if rate is not None:
            rate.step()
        schedule.step()

    try:
        trainer.train(n_batches=1 << 60, on_batch_end=on_batch_end, progress_bar=False)
    except Enough:
        clock.say("rest")


def dagger(spec: dict[str, Any], clock: Clock) -> None:
    """Run DAgger's rounds until the labels are used up."""
    import gymnasium
    from imitation.data.wrappers import RolloutInfoWrapper
    from stable_baselines3.common.vec_env import DummyVecEnv

    settings, env_id = spec["settings"], _OLDER.get(spec["env_id"], spec["env_id"])
    venv = DummyVecEnv([lambda: RolloutInfoWrapper(gymnasium.make(env_id))] * settings.get("num_envs", 1))
    venv.seed(spec["seed"])
    trainer = dagger_class(spec, clock)(
        venv=venv,
        scratch_dir=f"{spec['out']}/scratch",
        expert_policy=expert_policy(spec, venv),
        rng=np.random.default_rng(spec["seed"]),
        bc_trainer=bc(spec, None),
        beta_schedule=first if "recipe" in settings else None,
    )
    rounds = {}
    if "recipe" in settings:
        rounds = {"rollout_round_min_episodes": settings["round_min_episodes"], "rollout_round_min_timesteps": 0}
    with suppress(Enough):
        trainer.train(spec["budgets"][-1], **rounds)


def first(round_num: int) -> float:
    """Return beta: the expert acts in the first round only, the choice without parameters of DAgger's paper."""
    return float(round_num == 0)


def expert_policy(spec: dict[str, Any], venv: Any) -> Any:
    """Return the expert as imitation wants it."""
    from stable_baselines3.common.policies import BasePolicy

    class Labels(BasePolicy):
        expert = Expert(spec["expert"])

        def _predict(self, observation: Any, deterministic: bool = False) -> Any:
            raise NotImplementedError

        def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
            return self.expert(observation), None

    return Labels(venv.observation_space, venv.action_space)


def dagger_class(spec: dict[str, Any], clock: Clock) -> Any:
    """Return imitation's trainer, which reports each round and stops at the last budget."""
    from imitation.algorithms.dagger import SimpleDAggerTrainer

    class Clocked(SimpleDAggerTrainer):
        def extend_and_update(self, options: Any = None) -> int:
            clock.say("train")
            options = {**(options or {}), "log_rollouts_venv": None, "progress_bar": False}
            if "recipe" in spec["settings"]:
                num = spec["settings"]["num_batches"]
                options |= {"n_batches": num, "on_batch_end": falling(self.bc_trainer, num).step}
            number = super().extend_and_update(options)
            clock.say("rest")
            num_labels = sum(len(trajectory) for trajectory in self._all_demos)
            clock.mark(saver(self.bc_trainer), spec["out"], num_labels, labels=num_labels)
            if num_labels >= spec["budgets"][-1] or clock.training_s() > spec["cap_s"]:
                raise Enough
            return number

    return Clocked


def saver(trainer: Any) -> Callable[[str], None]:
    """Return how to save its policy: the weights alone, as plain tensors."""
    return lambda path: torch.save(trainer.policy.state_dict(), path)


def train(spec: dict[str, Any], clock: Clock) -> None:
    """Run the algorithm of the task."""
    (clone if spec["algorithm"] == "bc" else dagger)(spec, clock)


def load(spec: dict[str, Any], path: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the saved policy's most likely actions."""
    built = policy(spec)
    built.load_state_dict(torch.load(path, weights_only=True))
    built.set_training_mode(False)
    return lambda observations: built.predict(observations, deterministic=True)[0]


if __name__ == "__main__":
    main(train, load)
