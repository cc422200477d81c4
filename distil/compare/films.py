"""Videos for the page: the worst, the median and the best episode of the expert and of the best methods."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from distil.compare.comparison import Comparison
from distil.compare.methods import Method
from distil.compare.page import Film
from distil.compare.record import RunRecord
from distil.compare.verdict import number
from distil.errors import InputError
from distil.policies.checkpoint import load_policy_ref
from distil.rollouts import EvalResult
from distil.rollouts.video import Look, check_video, record_expert, record_video
from distil.runconfig import RunConfig, load_config
from distil.session import Session
from distil.types import Progress, silent, within

_LOOK = Look(max_frames=150, width=240, crf=30)
_MAX_METHODS = 4
_MAX_EPISODES = 50

_Write = Callable[[int, Path], Path]  # the episode of a seed as a video


def record_films(found: Comparison, progress: Progress = silent) -> list[Film]:
    """Return videos of the expert and of the best four methods; a method is shown by its run with the median score.

    Each is scored on the held-out episodes again, to find its worst, median and best one. Methods whose policies are not in
    their folders any more are left out.

    Raises:
        InputError: no run has a policy, or the environment cannot be shown in a video.
        RunError: the environment or an expert failed.
    """
    shown = [(method, run) for method in found.methods if (run := _representative(method)) is not None][:_MAX_METHODS]
    if not shown:
        raise InputError("--video: none of the runs has a folder with a policy; videos need one")
    configs = [_config(run) for _, run in shown]
    films: list[Film] = []
    for index, ((method, run), config) in enumerate(zip(shown, configs, strict=True)):
        assert config.env is not None
        if not index:
            check_video(config.env)
        with within(progress, method.name), Session(config, progress) as session:
            if not index:
                films += _of_expert(config, session)
            films += _of_policy(method, run, config, session)
    return films


def _representative(method: Method) -> RunRecord | None:
    """Return the run with the median score among those that have a policy; None if none has."""
    pairs = zip(method.scores, range(len(method.runs)), method.runs, strict=True)
    ranked = sorted((score, index, run) for score, index, run in pairs if _has_policy(run))
    return ranked[(len(ranked) - 1) // 2][2] if ranked else None


def _has_policy(run: RunRecord) -> bool:
    return run.path is not None and (run.path / "policy").is_dir() and bool(run.environment)


def _config(run: RunRecord) -> RunConfig:
    """Return a run's configuration; the scores of experts are those beside the run."""
    assert run.path is not None
    return load_config(run.path / "config.yaml").model_copy(update={"runs": str(run.path.parent)})


def _num_episodes(config: RunConfig) -> int:
    return min(config.evaluation.episodes or _MAX_EPISODES, _MAX_EPISODES)


def _of_expert(config: RunConfig, session: Session) -> list[Film]:
    team, env = session.setting.team, config.env
    if team is None or config.is_paid or env is None:
        return []
    name, expert = next(iter(team.members.items()))
    result = session.score("expert", _num_episodes(config), expert=name)
    spec = session.spec.observation
    return _films("expert", result, lambda seed, path: record_expert(env, expert, spec, seed, path, look=_LOOK))


def _of_policy(method: Method, run: RunRecord, config: RunConfig, session: Session) -> list[Film]:
    assert run.path is not None
    env = config.env
    assert env is not None
    policy = load_policy_ref(run.path / "policy", trust=config.policy.targets)
    result = session.evaluate("policy", _num_episodes(config), policy, act=config.evaluation.act)

    def write(seed: int, path: Path) -> Path:
        return record_video(env, policy, seed, path, name=method.name, look=_LOOK)

    return _films(method.name, result, write, f", seed {run.seed}")


def _films(name: str, result: EvalResult, write: _Write, which: str = "") -> list[Film]:
    order = np.argsort(result.returns, kind="stable")
    films = []
    places: Sequence[tuple[str, int]] = (("worst", 0), ("median", (len(order) - 1) // 2), ("best", len(order) - 1))
    with tempfile.TemporaryDirectory() as folder:
        for place, rank in places:
            episode = int(order[rank])
            mp4 = write(result.seeds[episode], Path(folder) / f"{place}.mp4").read_bytes()
            caption = f"of {len(order)} episodes{which}: return {number(float(result.returns[episode]))}"
            films.append(Film(group=name, title=place, caption=caption, mp4=mp4))
    return films
