"""Trials on Ray Tune: it places them, runs several at a time, restarts one whose process dies, and asks which ones to stop.

Nothing of Tune's own state is kept: what it would pickle goes to a temporary folder. What a sweep must remember is what
`Crew.next`, `heard` and `ended` write down.

Ray is imported when a sweep runs.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from distil.cluster import Request, cluster_cores, ensure_ray, usable_cores
from distil.errors import InputError, RunError
from distil.sweep.crew import Crew
from distil.sweep.trial import Work, carry_out

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths stay what they are
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the sweep like any other command
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # a trial that is stopped closes its run before its process takes another
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_RESULT_BUFFER_LENGTH": "1",  # decisions are made at once
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def run_trials(
    crew: Crew,
    *,
    num: int,
    concurrent: int | Literal["auto"],
    resources: list[dict[str, float]],
    retries: int,
    address: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Run the trials that `crew` gives.

    Args:
        crew: decides.
        num: at most so many trials.
        concurrent: trials at a time; auto: as many as the cores hold, those of the cluster if there is one.
        resources: bundles of a trial: the first one is its own process, the others those of its workers and learners.
        retries: how often a trial whose process died is started again.
        address: of a Ray cluster; None: RAY_ADDRESS, or a session of its own.
        labels: of the nodes that may run trials.

    Raises:
        InputError: a trial needs more than any node has.
        RunError: Ray Tune failed.
    """
    os.environ.update({key: value for key, value in _ENVIRONMENT.items() if key not in os.environ})
    need = int(sum(bundle.get("CPU", 0) for bundle in resources))
    ray = ensure_ray(address, need if concurrent == "auto" else concurrent * need)
    _require_room(ray, resources, labels or {})
    from ray import tune

    from distil.sweep import tuneparts

    with tempfile.TemporaryDirectory(prefix="distil-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(
                _trial, tune.PlacementGroupFactory(resources, bundle_label_selector=[dict(labels or {})] * len(resources))
            ),
            tune_config=tune.TuneConfig(
                search_alg=tuneparts.Given(crew),
                scheduler=tuneparts.Asked(crew),
                num_samples=num,
                max_concurrent_trials=min(num, at_a_time(concurrent, need, usable_cores(ray, labels))),
                reuse_actors=True,
                trial_name_creator=str,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                failure_config=tune.FailureConfig(max_failures=retries),
                verbose=0,
                callbacks=[tuneparts.Ended(crew)],
            ),
        )
        _fit(ray, tuner)


def at_a_time(concurrent: int | Literal["auto"], need: int, cores: int) -> int:
    """Return how many trials run at a time that need that many cores each; auto: as many as there is room for."""
    return max(1, cores // need) if concurrent == "auto" else concurrent


def _fit(ray: Any, tuner: Any) -> None:
    """Run Tune to its end, and leave none of its processes behind; RunError if it failed."""
    before = _groups(ray)
    try:
        with _quiet():
            tuner.fit()
    except (InputError, RunError, KeyboardInterrupt):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise RunError(f"Ray Tune failed: {reason}; --resume continues the sweep") from error
    finally:
        _end(ray, _groups(ray) - before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what Tune logs, such as that it kept no files of trials; its errors arrive as exceptions."""
    logger = logging.getLogger("ray.tune")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _groups(ray: Any) -> set[str]:
    """Return the ids of the placement groups that hold resources."""
    return {key for key, group in ray.util.placement_group_table().items() if group["state"] != "REMOVED"}


def _end(ray: Any, groups: set[str]) -> None:
    """Remove placement groups, and end the processes in them: Tune leaves them where it is interrupted."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for group in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group)))


def _require_room(ray: Any, resources: list[dict[str, float]], labels: Mapping[str, str]) -> None:
    """Raise InputError if a bundle fits no node with the labels, or all of them exceed the cluster."""
    if labels:
        Request(what="trials", num=1, each=resources[0], fix="change rollouts.labels", labels=labels).require_possible(ray)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for bundle in resources:
        for name, amount in bundle.items():
            largest = max((node.get(name, 0) for node in nodes), default=0)
            if amount > largest:
                raise InputError(
                    f"a trial needs {amount:g} {name} on one node, and the largest has {largest:g}: lower rollouts.num_workers "
                    "or learner.num_learners, or use a larger cluster"
                )
    total = sum(bundle.get("CPU", 0) for bundle in resources)
    if total > cluster_cores(ray):
        raise InputError(
            f"a trial needs {total:g} CPUs (its own, and one for each worker and learner), and the cluster has "
            f"{cluster_cores(ray)}: set rollouts.num_workers=0 and learner.num_learners=0, or use a larger cluster"
        )


def _trial(settings: dict[str, str]) -> None:
    """Carry out one trial in a process of Tune; scores go through its `report`, which ends the thread of a stopped trial."""
    from ray import tune

    work = Work.from_json(settings["work"])
    try:
        carry_out(work, lambda look: tune.report({"trial": work.name, "look": look.to_json()}))
    except (InputError, RunError) as error:
        tune.report({"trial": work.name, "fault": str(error)})
