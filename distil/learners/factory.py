"""Builds the learner of a configuration; torch and Ray are imported only then."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distil.cluster import START_TIMEOUT_S
from distil.fence import Check, unfenced
from distil.learners.base import Learner, LearnerSetup
from distil.learners.config import LearnerConfig
from distil.objectives.config import ObjectiveConfig, SupervisedConfig
from distil.types import Note, Progress, silent, unheard

if TYPE_CHECKING:
    from distil.policies.config import PolicyConfig
    from distil.store.schema import StoreSpec


def check_device(config: LearnerConfig) -> None:
    """Raise InputError if the device does not exist; with `num_learners`, Ray must be running."""
    if config.device != "cuda":
        return
    if config.num_learners:
        from distil.learners.ray_train import use_gpu

        use_gpu(config)
    else:
        from distil.learners.rank import choose_device

        choose_device(config.device)


def make_learner(
    config: LearnerConfig,
    policy: PolicyConfig,
    spec: StoreSpec,
    folder: Path,
    *,
    objective: ObjectiveConfig = SupervisedConfig(),  # noqa: B008 (immutable)
    seed: int,
    resume: bool = False,
    progress: Progress = silent,
    note: Note = unheard,
    start_timeout_s: float = START_TIMEOUT_S,
    check: Check = unfenced,
) -> Learner:
    """Return the learner of `config`: in this process, or `num_learners` ranks on Ray Train (Ray must be running).

    Args:
        config: the learner's settings.
        policy: what to train.
        spec: spaces of the stores that it is trained on.
        folder: of the checkpoints; with several nodes, a shared one. Without `resume`, checkpoints in it are removed.
        objective: what to minimise.
        seed: the run's root seed.
        resume: continue from the newest checkpoint in `folder`, if there is one.
        progress: receives the number of steps taken.
        note: receives what a user should know about the data.
        start_timeout_s: how long ranks on Ray Train may wait for free resources.
        check: called before a checkpoint appears, on whatever rank; see `distil.fence`.

    Raises:
        InputError: a checkpoint to resume from has other shapes; the device doesn't exist; or the cluster is too small.
    """
    setup = LearnerSetup(
        config=config,
        policy=policy,
        objective=objective,
        spec=spec,
        folder=folder.resolve(),
        seed=seed,
        resume=resume,
        check=check,
    )
    if config.num_learners:
        from distil.learners.ray_train import RayLearner

        return RayLearner(setup, progress, note, start_timeout_s=start_timeout_s)
    from distil.learners.local import LocalLearner

    return LocalLearner(setup, progress, note)
