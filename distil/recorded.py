"""What a run tells people in MLflow: parameters, tags, metrics in their order, and sentences about its result."""

from __future__ import annotations

import getpass
import json
import shlex
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from distil.config import public
from distil.plans import Metrics, RoundReport
from distil.redaction import redact
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.store.schema import environment
from distil.tracking import flatten

NOTE = "mlflow.note.content"  # the tag that MLflow shows as a run's description

_PLACES = ("rollouts.", "tracking.", "learner.read.", "runs")  # keys that say where a run ran, not what it learned
_FIRST = ("eval/", "tune/", "budget/", "train/", "time/")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#222222")  # Okabe and Ito's
_KNOWN = ("bc", "dagger", "dac", "gail", "sqil", "iq", "csil", "rl")  # have a colour of their own
_AXES = """Every metric's step is the run's number of gradient steps; charts can show any metric on their x axis instead, such
as `budget/expert_labels`. `eval/*`: held-out episodes, the same for all runs. `tune/*`: other episodes, to choose by.
`*/normalised`: 0 is the random policy, 1 the expert. `*_ci_low`, `*_ci_high`: 95 % interval of the mean over episodes.
`budget/*`: totals of the run so far. `time/*_s`: seconds of a round; `time/total_*`: of the run so far."""


class Totals:
    """The run's totals of what its rounds took. Mutable.

    Args:
        reported: metrics of the rounds that are finished.
    """

    def __init__(self, reported: Iterable[Metrics] = ()) -> None:
        self._totals: dict[str, float] = {}
        for metrics in reported:
            self.add(metrics)

    def add(self, metrics: Metrics) -> dict[str, float]:
        """Return a round's metrics with the totals that include it, scores first."""
        for key, value in metrics.items():
            if key == "train/steps" or (key.startswith("time/") and key.endswith("_s")):
                total = key.replace("/", "/total_", 1)
                self._totals[total] = self._totals.get(total, 0.0) + value
        return dict(sorted((dict(metrics) | self._totals).items(), key=lambda item: _rank(item[0])))


def _rank(key: str) -> int:
    return next((place for place, prefix in enumerate(_FIRST) if key.startswith(prefix)), len(_FIRST))


def parameters(config: RunConfig) -> dict[str, str]:
    """Return what distinguishes runs, as dotted key -> text; the rest is in config.yaml."""
    found = flatten(public(config))
    return {key: text for key, text in found.items() if text != "null" and not f"{key}.".startswith(_PLACES)}


def run_tags(config: RunConfig, rundir: RunDir) -> dict[str, str]:
    """Return what a run is filtered, grouped and coloured by."""
    versions = json.loads((rundir.path / "versions.json").read_text())
    tags = {
        "algorithm": config.algorithm.kind,
        "env": environment_of(config),
        "expert": _expert(config),
        "seed": str(config.seed),
        "run_dir": str(rundir.path.absolute()),
        "distil_version": versions["packages"].get("distil", ""),
        "mlflow.source.git.commit": (versions.get("git") or {}).get("commit", ""),
        "mlflow.source.name": _command(),
        "mlflow.source.type": "LOCAL",
        "mlflow.runColor": _colour(config.algorithm.kind),
    }
    with suppress(OSError, KeyError, ImportError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return {key: value for key, value in tags.items() if value}


def _command() -> str:
    """Return what was typed, or the script that calls distil; passwords are replaced."""
    name = Path(sys.argv[0]).name
    return redact(shlex.join(["distil" if name == "__main__.py" else name, *sys.argv[1:]]))


def environment_of(config: RunConfig) -> str:
    """Return the environment's name, or that of the stored demonstrations."""
    return environment(config.env.model_dump(mode="json")) if config.env is not None else str(config.store_path)


def _expert(config: RunConfig) -> str:
    if config.expert is None:
        return ""
    path = getattr(config.expert, "path", None) or getattr(config.expert, "target", None)
    return f"{config.expert.kind} {Path(str(path)).name}" if path else config.expert.kind


def _colour(kind: str) -> str:
    """Return a method's colour, the same in every experiment."""
    place = _KNOWN.index(kind) if kind in _KNOWN else zlib.crc32(kind.encode())
    return _COLOURS[place % len(_COLOURS)]


def result(config: RunConfig, report: RoundReport) -> str:
    """Return a finished run's result in one sentence."""
    metrics, spent = report.metrics, report.spent
    parts = []
    if "eval/return_mean" in metrics:
        text = f"return {metrics['eval/return_mean']:.4g}"
        if "eval/return_ci_low" in metrics:
            text += f" (95 %: {metrics['eval/return_ci_low']:.4g} to {metrics['eval/return_ci_high']:.4g})"
        parts.append(f"{text} on {config.evaluation.episodes} held-out episodes")
    if "eval/normalised" in metrics:
        parts.append(f"normalised {metrics['eval/normalised']:.3f}")
    counts = {
        "demonstrations": spent.demonstrations,
        "labels": spent.expert_labels,
        "own steps": spent.agent_steps,
        "gradient steps": spent.gradient_steps,
    }
    parts.append(", ".join(f"{number:,} {what}" for what, number in counts.items() if number))
    parts.append(f"{spent.wall_s:.0f} s.")
    return f"{config.algorithm.kind} on {environment_of(config)}: {'; '.join(part for part in parts if part)}"


def about_experiment(config: RunConfig, report: RoundReport) -> str:
    """Return what an experiment's scores are to be compared with, and what its axes mean, in Markdown."""
    metrics = report.metrics
    levels = [f"{who} {metrics[key]:.4g}" for who, key in _LEVELS.items() if key in metrics]
    scores = f" Mean return on {config.evaluation.episodes} held-out episodes: {', '.join(levels)}." if levels else ""
    return f"**{environment_of(config)}**, expert: {_expert(config) or 'none'}.{scores}\n\n{_AXES}"


_LEVELS = {"expert": "eval/expert_return_mean", "random policy": "eval/random_return_mean"}
