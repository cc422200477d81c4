"""A recipe as a configuration of RLlib: what its keys mean there, and the check of RLlib's own keys."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distil.algorithms.rl import RlConfig
from distil.algorithms.stop import PeekConfig
from distil.cluster import num_cores
from distil.config import nearest
from distil.envs import EnvConfig, EnvSpec, ImportEnvConfig, make
from distil.errors import InputError
from distil.experts.rllib.architecture import NAMES
from distil.objectives.rl_config import PpoConfig, SacConfig
from distil.policies.config import PolicyConfig
from distil.runconfig import RunConfig

_WHERE = "algorithm.rllib.config"
_OWN_OF_DISTIL = {
    "env": "set env.id",
    "env_config": "set env.kwargs",
    "observation_space": "it is the environment's",
    "action_space": "it is the environment's",
    "model": "it is of the old API stack: set model_config",
    "framework_str": "it is torch",
    "create_local_env_runner": "the checkpoints are written by it",
}
_PROPERTIES = ("train_batch_size_per_learner", "model_config")  # set through methods of their own


def algorithm_of(config: RunConfig) -> RlConfig:
    """Return the run's algorithm, which is `kind: rl` where RLlib trains."""
    assert isinstance(config.algorithm, RlConfig)
    return config.algorithm


def algorithm_config(config: RunConfig, spec: EnvSpec) -> Any:
    """Return RLlib's AlgorithmConfig of a run; its environment is registered in this process.

    Raises:
        InputError: RLlib has no such policy, space or key, or a key of the recipe has no effect there.
    """
    name = algorithm_name(config)
    _check_recipe(config)
    _check_spaces(name, spec)
    with quiet():
        return _configured(name, config, spec)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop RLlib's warnings, of its examples and of deprecated parts that it uses; its errors arrive as exceptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray.rllib  # noqa: F401 (it sets its logger's level)

        loggers = [logging.getLogger(name) for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation")]
        before = [logger.level for logger in loggers]
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _class_of(env: EnvConfig) -> type:
    """Return a class that makes the environment. A registered name would be lost in the second Ray session of a process."""

    class Made:
        def __new__(cls, _context: Any) -> Any:
            return make(env)

    return Made


def _configured(name: str, config: RunConfig, spec: EnvSpec) -> Any:
    from ray.tune.registry import get_trainable_cls

    found = get_trainable_cls(name).get_default_config()
    own = algorithm_of(config).rllib.config
    _check_keys(name, own, found.to_dict())
    settings = _shared(config) | (_of_sac(config) if name == "SAC" else _of_ppo(config) if name == "PPO" else {}) | own
    model = _model(config.policy) | ({"vf_share_layers": False} if name != "SAC" else {}) | settings.pop("model_config", {})
    _check_model(model)
    assert config.env is not None
    found.environment(_class_of(config.env), disable_env_checking=True)
    found.rl_module(model_config=model)
    before = _connectors(config, spec)
    found.env_runners(env_to_module_connector=(lambda env, spaces, device: [kind() for kind in before]) if before else None)
    found.debugging(log_level="CRITICAL")
    found.update_from_dict(settings)
    try:
        found.validate()
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"{_WHERE}: RLlib's {name} refuses it: {' '.join(str(error).split())[:300]}") from None
    return found


def algorithm_name(config: RunConfig) -> str:
    """Return the name of RLlib's algorithm: PPO, SAC, IMPALA or APPO."""
    algorithm = algorithm_of(config)
    chosen = algorithm.rllib.algorithm
    if chosen != "auto":
        return chosen
    if algorithm.step.kind == "soft_q":
        raise InputError("algorithm.backend=rllib: RLlib has no soft_q: set algorithm.step.kind, or algorithm.rllib.algorithm")
    return algorithm.step.kind.upper()


def num_cpus(settings: Any) -> int:
    """Return the CPUs that RLlib's processes need from Ray."""
    runners = settings.num_env_runners * settings.num_cpus_per_env_runner
    return int(runners + settings.num_learners * (1 + settings.num_aggregator_actors_per_learner)) + 1


def _check_recipe(config: RunConfig) -> None:
    """Refuse what RLlib would leave out in silence."""
    algorithm, policy = algorithm_of(config), config.policy
    step = algorithm.step
    without_effect = {
        "algorithm.stop": algorithm.stop != PeekConfig(),
        "algorithm.keep_steps": algorithm.keep_steps is not None,
        "policy.head": policy.head.kind != "auto",
        "policy.encoder.kind": policy.encoder.kind not in ("auto", "mlp"),
        **{f"policy.{key}": getattr(policy, key) != 1 for key in ("obs_horizon", "chunk", "ensemble")},
        **{
            f"algorithm.step.{key}": changed for key, changed in _changed(step, ("num_critics", "combine", "automatic", "loss"))
        },
        "env.vectorised": isinstance(config.env, ImportEnvConfig) and config.env.vectorised,
    }
    if found := [key for key, is_set in without_effect.items() if is_set]:
        raise InputError(f"{found[0]} has no effect in RLlib: remove it, or set algorithm.backend=distil")


def _changed(step: Any, keys: tuple[str, ...]) -> list[tuple[str, bool]]:
    fields = type(step).model_fields
    return [(key, getattr(step, key) != fields[key].default) for key in keys if key in fields]


def _check_spaces(name: str, spec: EnvSpec) -> None:
    action = spec.action.leaf
    kinds = ("box", "discrete") if name == "SAC" else ("box", "discrete", "multi_discrete")
    if action.kind not in kinds or (action.kind == "box" and (len(action.shape) != 1 or action.dtype[0] != "f")):
        raise InputError(
            f"{spec.name}: RLlib's {name} has no policy for actions {spec.action.describe()}; use distil's own step"
        )
    if any(leaf.start for leaf in (action, *spec.observation.leaves)):
        raise InputError(f"{spec.name}: RLlib counts choices from 0, not from the space's start; wrap the environment")


def _check_keys(name: str, own: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Check RLlib's own keys: it would take an unknown one in silence."""
    known = [key for key, value in defaults.items() if not key.startswith("_") and value != -1] + list(_PROPERTIES)
    for key, value in own.items():
        if key in _OWN_OF_DISTIL:
            raise InputError(f"{_WHERE}.{key} is set by distil: {_OWN_OF_DISTIL[key]}")
        if key not in known:
            raise InputError(f"unknown key {_WHERE}.{key}: RLlib's {name} has none of that name{nearest(key, known)}")
        default = defaults.get(key)
        if isinstance(default, bool | int | float | str) and not _fits(value, default):
            raise InputError(f"{_WHERE}.{key}={value!r}: should be like RLlib's default, {default!r}")


def _fits(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool | str)
    if isinstance(default, str):
        return isinstance(value, str | int | float)  # "auto" stands for a number
    return value is None or isinstance(value, int | float | list)  # a list is a schedule


def _check_model(model: Mapping[str, Any]) -> None:
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    known = list(DefaultModelConfig.__dataclass_fields__)
    if unknown := [key for key in model if key not in known]:
        raise InputError(f"unknown key {_WHERE}.model_config.{unknown[0]}{nearest(unknown[0], known)}")
    if model.get("use_lstm"):
        raise InputError(f"{_WHERE}.model_config.use_lstm: distil serves no recurrent network of RLlib; remove it")
    for key in ("fcnet_activation", "head_fcnet_activation"):
        if (value := model.get(key)) not in (None, "linear") and str(value).lower() not in NAMES:
            raise InputError(f"{_WHERE}.model_config.{key}={value}: distil serves none; use linear, {', '.join(NAMES)}")


def _model(policy: PolicyConfig) -> dict[str, Any]:
    encoder = policy.encoder
    assert encoder.kind in ("auto", "mlp")
    return {"fcnet_hiddens": list(encoder.hidden), "fcnet_activation": encoder.activation}


def _connectors(config: RunConfig, spec: EnvSpec) -> list[Any]:
    """Return the classes of the connectors of observations."""
    from ray.rllib.connectors.env_to_module import FlattenObservations, MeanStdFilter

    is_vector = spec.observation.tree == "obs" and spec.observation.leaf.kind == "box" and len(spec.observation.leaf.shape) == 1
    normalise = algorithm_of(config).rllib.normalise
    if normalise and not is_vector:
        raise InputError(f"algorithm.rllib.normalise=true needs one vector; observations are {spec.observation.describe()}")
    return ([MeanStdFilter] if normalise else []) + ([] if is_vector else [FlattenObservations])


def _shared(config: RunConfig) -> dict[str, Any]:
    """Return what all of RLlib's algorithms take from a recipe."""
    workers, learner = config.rollouts.num_workers, config.learner
    return {
        "seed": config.seed,
        "gamma": algorithm_of(config).step.discount,
        "lr": learner.learning_rate,
        "num_env_runners": num_cores() if workers == "auto" else workers,
        "num_learners": learner.num_learners,
        "min_time_s_per_iteration": 0 if algorithm_name(config) in ("PPO", "SAC") else 1,
        "restart_failed_env_runners": False,  # an environment that raises would start again and again
        **({"grad_clip": learner.grad_clip} if learner.grad_clip is not None else {}),
    }


def _of_ppo(config: RunConfig) -> dict[str, Any]:
    algorithm = algorithm_of(config)
    step, ranks = algorithm.step, max(1, config.learner.num_learners)
    same: dict[str, Any] = {}
    if isinstance(step, PpoConfig):
        same = {"lambda_": step.trace, "clip_param": step.clip, "entropy_coeff": step.entropy, "num_epochs": step.epochs}
    return {
        "train_batch_size_per_learner": max(1, algorithm.steps_per_round // ranks),
        "minibatch_size": max(1, config.learner.batch_size // ranks),
        **same,
    }


def _of_sac(config: RunConfig) -> dict[str, Any]:
    algorithm, rate = algorithm_of(config), config.learner.learning_rate
    step, size = algorithm.step, config.learner.batch_size
    same = {"tau": step.target_rate, "initial_alpha": step.temperature} if isinstance(step, SacConfig) else {}
    target = step.target_entropy if isinstance(step, SacConfig) else None
    return {
        "lr": None,
        **{f"{part}_lr": rate for part in ("actor", "critic", "alpha")},
        "train_batch_size_per_learner": max(1, size // max(1, config.learner.num_learners)),
        "num_steps_sampled_before_learning_starts": algorithm.random_steps,
        "training_intensity": algorithm.updates_per_step * size,
        "min_sample_timesteps_per_iteration": algorithm.steps_per_round,
        "target_entropy": "auto" if target is None else target,
        **same,
    }
