"""The configurations of the runs that a transfer consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distil.algorithms.interaction import ByInteractionConfig
from distil.config import apply_overrides, validate
from distil.errors import InputError
from distil.rewards.ref import RewardSpec
from distil.runconfig import RunConfig, load_config

Changes = Mapping[str, Any]
_THERE, _OF_RUNS, _OF_RL = ("env", "expert"), ("evaluation", "rollouts", "tracking"), ("algorithm", "learner", "policy")
_KEPT = ("steps", "steps_per_round", "updates_per_step", "random_steps", "keep_steps")  # of how the run interacted
_OF_CLONE = ("encoder", "obs_clip", "std_floor")


def there(source: RunConfig, changes: Changes, runs: Path) -> RunConfig:
    """Return what the runs in the other environment share: environment, expert, workers, evaluation.

    Raises:
        InputError: nothing of the environment changes, or a key of another group is given.
    """
    known = (*_THERE, *_OF_RUNS, *_OF_RL)
    for key in changes:
        if key.partition(".")[0] not in known:
            raise InputError(f"{key}: can't be changed for a transfer; the groups of keys that can are {', '.join(known)}")
    if source.env is None:
        raise InputError("the run has no environment, so there is no other one to carry its reward to: set env.id")
    data = source.model_dump(mode="json")
    shared = {name: data[name] for name in (*_THERE, *_OF_RUNS)}
    shared["evaluation"] = {**shared["evaluation"], "video": False}
    own = {key: value for key, value in changes.items() if key.partition(".")[0] not in _OF_RL}
    config = validate(RunConfig, apply_overrides(shared | {"runs": str(runs)}, own, RunConfig), "the other environment")
    if config.env == source.env:
        raise InputError("the environment is that of the run: say what is different, such as env.kwargs.gap=right")
    return config


def on_reward(
    source: RunConfig,
    spec: RewardSpec,
    shared: RunConfig,
    changes: Changes,
    recipe: str | None,
    name: str,
    seed: int,
    path: Path | None,
) -> RunConfig:
    """Return a run that trains a policy from scratch in the other environment.

    Args:
        source: the run that learned the reward; its step of reinforcement learning serves, if it has one.
        spec: of that reward.
        shared: see `there`.
        changes: of algorithm, learner and policy.
        recipe: of reinforcement learning, in place of the run's own step.
        name: of the run.
        seed: of the run.
        path: of the reward; None: the environment's own.

    Raises:
        InputError: the recipe is not one of reinforcement learning.
    """
    if recipe is not None:
        chosen = load_config(recipe)
        if chosen.algorithm.kind != "rl":
            raise InputError(f"--recipe {recipe}: algorithm.kind={chosen.algorithm.kind} is no reinforcement learning: use rl")
        data = chosen.model_dump(mode="json")
        parts = {part: data[part] for part in _OF_RL}
    else:
        parts = _of_source(source, spec)
    given = {"kind": "learned", "path": str(path)} if path is not None else {"kind": "environment"}
    parts["algorithm"] = {**parts["algorithm"], "reward": given}
    data = shared.model_dump(mode="json") | parts | {"name": name, "seed": seed}
    own = {key: value for key, value in changes.items() if key.partition(".")[0] in _OF_RL}
    return validate(RunConfig, apply_overrides(data, own, RunConfig), name)


def _of_source(source: RunConfig, spec: RewardSpec) -> dict[str, Any]:
    """Return algorithm, learner and policy that reinforcement learning takes over from a run."""
    algorithm, data = source.algorithm, source.model_dump(mode="json")
    if not isinstance(algorithm, ByInteractionConfig) or algorithm.num_acting == 0:
        return _of_reward(spec)
    step = dict(data["algorithm"]["step"])
    own: dict[str, Any] = {"loss": "td", "anchor": 0.0, "actor_from": 0}  # what only makes sense beside demonstrations
    step |= {name: value for name, value in own.items() if name in step}
    kept = {name: data["algorithm"][name] for name in _KEPT}
    return {"algorithm": {"kind": "rl", "step": step, **kept}, "learner": data["learner"], "policy": data["policy"]}


def _of_reward(spec: RewardSpec) -> dict[str, Any]:
    """Return algorithm, learner and policy of a run that learned without acting: for a table, planning in the dynamics."""
    if spec.config.kind == "tabular":
        kind, policy = "soft_vi", {"encoder": {"kind": "mlp", "hidden": []}}
    else:
        kind, policy = "sac" if spec.action.leaf.kind == "box" else "soft_q", {}
    step = {"kind": kind, "discount": spec.discount}
    return {"algorithm": {"kind": "rl", "step": step}, "learner": {}, "policy": policy}


def clone(source: RunConfig, shared: RunConfig, name: str, seed: int, num_steps: int) -> RunConfig:
    """Return a run that clones the demonstrations that a run learned from, with nothing of its environment."""
    data = source.model_dump(mode="json")
    episodes, is_mixed = data["data"]["episodes"], source.data.mixture is not None
    where = {"path": None if is_mixed else str(source.store_path), "mixture": data["data"]["mixture"]}
    return validate(
        RunConfig,
        {
            "name": name,
            "seed": seed,
            "data": {**where, "episodes": episodes, "select": data["data"]["select"]},
            "policy": {part: data["policy"][part] for part in _OF_CLONE},
            "learner": {"num_steps": num_steps},
            "evaluation": {"episodes": 0},
            "tracking": shared.tracking.model_dump(mode="json"),
            "runs": shared.runs,
        },
        name,
    )


def require_alike(configs: Sequence[RunConfig], names: Sequence[str]) -> None:
    """Raise InputError if the runs are not of one environment and algorithm: then they are no repetitions of each other."""
    first = configs[0]
    for config, name in zip(configs, names, strict=True):
        if config.env != first.env or config.algorithm.kind != first.algorithm.kind:
            raise InputError(f"{name} and {names[0]} have other environments or algorithms: give runs that differ in the seed")
