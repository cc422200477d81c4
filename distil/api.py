"""The Python API: what the command line does, as a few typed calls. `import distil` gives these names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil import run as loop
from distil.algorithms.rl import RlConfig
from distil.config import to_yaml, validate
from distil.errors import InputError
from distil.plans import CollectPlan, CollectReport, RoundReport
from distil.policies.checkpoint import load_policy_ref
from distil.policies.config import ActMode
from distil.policies.predict import Predictor
from distil.report import Score, score_table
from distil.resume import run_to_continue
from distil.rewards.function import RewardFunction
from distil.rewards.ref import load_reward_ref
from distil.rllib import training as rllib
from distil.rollouts import Baselines, EvalResult
from distil.rollouts.config import NumWorkers
from distil.rollouts.label_config import LabelConfig
from distil.rollouts.relabel import LabelReport, label_store
from distil.rollouts.video import check_video, record_video
from distil.runconfig import RunConfig, load_config
from distil.rundata import missing
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store
from distil.types import Progress, silent
from distil.validation import check_new_run

Overrides = Mapping[str, Any]
_EPISODES = 50


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Scores on the same held-out episodes, by the name of who acted."""

    results: Mapping[str, EvalResult]
    baselines: Baselines | None
    video: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the metrics of each result as JSON data."""
        return {who: result.metrics(self.baselines) for who, result in self.results.items()}

    def text(self) -> str:
        """Return the scores as a table."""
        scores = [score_of(who, result, self.baselines) for who, result in self.results.items()]
        film = f"\nvideo: {self.video}" if self.video else ""
        return score_table(scores, f"{len(next(iter(self.results.values())).seeds)} held-out episodes") + film


def score_of(name: str, result: EvalResult, baselines: Baselines | None, **facts: Any) -> Score:
    """Return a result as a row of a table."""
    low, high = result.interval or (None, None)
    normalised = baselines.normalise(result.mean) if baselines else None
    return Score(name=name, mean=result.mean, low=low, high=high, normalised=normalised, **facts)


@dataclass(frozen=True)
class Run:
    """A run on disk: its configuration, its reports, its policy."""

    path: Path

    @property
    def config(self) -> RunConfig:
        """The resolved configuration."""
        return load_config(self.path / "config.yaml")

    @property
    def reports(self) -> list[RoundReport]:
        """The reports of its finished rounds."""
        return RunDir(self.path).reports()

    @property
    def metrics(self) -> Mapping[str, float]:
        """The last report's metrics; empty before the first round is done."""
        reports = self.reports
        return reports[-1].metrics if reports else {}

    @property
    def expert(self) -> tuple[str, Path]:
        """`expert.kind` and `expert.path` of what it trained: its policy, or RLlib's checkpoint of another network."""
        run = RunDir(self.path)
        return ("policy", run.path) if run.policy.is_dir() or not run.rllib.is_dir() else ("rllib", max(run.rllib.iterdir()))

    def policy(self) -> Predictor:
        """Return the policy of the last finished round; InputError if there is none yet."""
        return load_policy(self.path, trust=self.config.policy.targets)

    def reward(self) -> RewardFunction:
        """Return the reward that the run learned, or was given; InputError says why there is none."""
        run, algorithm = RunDir(self.path), self.config.algorithm
        if not run.reward.is_dir():
            reason = algorithm.objective.no_reward or "no update is finished yet, or an earlier version of distil kept none"
            raise InputError(f"{self.path}: the run has no reward: algorithm.kind={algorithm.kind}: {reason}")
        return load_reward(self.path, trust=self.config.policy.targets)


def open_run(path: Path | str) -> Run:
    """Return the run in a folder; InputError if there is none."""
    path = Path(path)
    if not RunDir(path).config.is_file():
        raise InputError(f"{path}: no run there (no config.yaml); runs are listed by `ls runs`")
    return Run(path)


def load_policy(path: Path | str, *, trust: Sequence[str] = ()) -> Predictor:
    """Return the policy in a run's folder or in a policy folder, ready to `predict`.

    Args:
        path: the folder.
        trust: classes (package.module:Class), modules or packages of your own that the policy may name as its head or encoder;
            they are imported.

    Raises:
        InputError: there is none, or its files do not fit each other.
    """
    path = Path(path)
    return Predictor(load_policy_ref(path / "policy" if (path / "policy").is_dir() else path, trust=trust))


def load_reward(path: Path | str, *, trust: Sequence[str] = ()) -> RewardFunction:
    """Return the reward in a run's folder or in a reward's folder, as a function of observations and actions.

    Args:
        path: the folder.
        trust: classes (package.module:Class), modules or packages of your own that a clone or a Q-function in it may name as
            its head or encoder; they are imported.

    Raises:
        InputError: there is none, or its files do not fit each other.
    """
    path = Path(path)
    return RewardFunction(load_reward_ref(path / "reward" if (path / "reward").is_dir() else path, trust=trust))


def collect_with_report(
    recipe: str | Path, overrides: Overrides | None = None, *, progress: Progress = silent
) -> tuple[Store, CollectReport]:
    """Collect a recipe's demonstrations; return the store and a report on the new episodes. See `collect`."""
    config = load_config(recipe, overrides)
    num_episodes = config.budget().num_demonstrations
    if num_episodes is None:
        raise InputError(f"{recipe}: nothing to collect: set expert.kind and data.episodes, and no data.mixture")
    with Session(config, progress) as session:
        session.require_shared(config)
        store = session.store(config)
        _, plan = missing(store, CollectPlan(num_episodes=num_episodes), config.data.select)
        return store, session.collector(config, store).collect(plan)


def collect(recipe: str | Path, overrides: Overrides | None = None, *, progress: Progress = silent) -> Store:
    """Collect the missing demonstrations of a recipe into its store, and return the store.

    Args:
        recipe: the name of a shipped recipe, a file, or a run's folder.
        overrides: dotted key -> value.
        progress: called as episodes end.

    Raises:
        InputError: the configuration, the environment, the expert and the store do not fit each other.
        RunError: the environment, the expert, a worker or the disk failed. Complete episodes are kept.
    """
    return collect_with_report(recipe, overrides, progress=progress)[0]


def train(
    recipe: str | Path,
    overrides: Overrides | None = None,
    *,
    resume: bool = False,
    run: str | None = None,
    progress: Progress = silent,
    session: Session | None = None,
    parent: str | None = None,
) -> Run:
    """Train a policy: collect missing demonstrations, learn, evaluate.

    Args:
        recipe: the name of a shipped recipe, a file, or a run's folder.
        overrides: dotted key -> value.
        resume: continue a run: the one in the folder `recipe`, the one named `run` (started if it does not exist), or the
            unfinished one with the same configuration. A process that still carries out the one named `run`, on whatever host,
            stops first, with `SupersededError`.
        run: name of the run's folder in `runs`; None: the recipe's name and the next free number.
        progress: called as the work proceeds.
        session: workers and baselines to share with other runs of the same environment and expert; it stays open.
        parent: id of the run that this one belongs to in MLflow; that run's process sends what this one records (see
            `distil.tracking.grouped`).

    Raises:
        InputError: the configuration, the environment, the expert, the store and the session do not fit each other.
        RunError: the environment, the expert, a worker or the disk failed. `resume=True` continues from there.
        SupersededError: a newer attempt has taken the run over.
    """
    config = load_config(recipe, overrides).pinned()
    if config.evaluation.video and config.env is not None:
        check_video(config.env)
    config.tracking.address()  # refused before anything starts
    by_rllib = config.algorithm.needs.backend == "rllib"
    rundir = run_to_continue(config, recipe, run) if resume else None
    if rundir is None and run is not None:
        RunDir.named(Path(config.runs), run).require_new()
    if session is not None:
        session.check(config)
    with nullcontext(session) if session is not None else Session(config, progress) as shared:
        shared.require_shared(config)
        if rundir is None:
            (rllib.check if by_rllib else check_new_run)(config, shared.spec)
            if parent is None:
                config.tracking.check(config.name)
            rundir = _created(config, recipe, run, resume=resume)
        (rllib.train if by_rllib else loop.train)(config, rundir, shared, parent, take=resume and run is not None)
    return Run(rundir.path)


def _created(config: RunConfig, recipe: str | Path, run: str | None, *, resume: bool) -> RunDir:
    """Return the folder of a new run; with `resume`, another process may have made it meanwhile."""
    try:
        return RunDir.create(Path(config.runs), config.name, to_yaml(config), folder=run)
    except InputError:
        found = run_to_continue(config, recipe, run) if resume else None
        if found is None:
            raise
        return found


def train_expert(
    recipe: str | Path,
    overrides: Overrides | None = None,
    *,
    resume: bool = False,
    run: str | None = None,
    progress: Progress = silent,
) -> Run:
    """Train an expert by reinforcement learning (`algorithm.kind=rl`): on the environment's own reward, or a given one.

    See `train`.

    Its policy serves as an expert: `expert: {kind: policy, path: RUN}`.

    Raises:
        InputError: as for `train`, or the recipe learns from demonstrations.
        RunError: as for `train`.
    """
    algorithm = load_config(recipe, overrides).algorithm
    if not isinstance(algorithm, RlConfig):
        raise InputError(
            f"{recipe}: algorithm.kind={algorithm.kind} learns from demonstrations: use distil train; an expert is "
            "trained with algorithm.kind=rl, such as cartpole-ppo"
        )
    return train(recipe, overrides, resume=resume, run=run, progress=progress)


def evaluate_run(path: Path | str, *, episodes: int | None = None, video: bool = False, progress: Progress = silent) -> Outcome:
    """Score a run's policy on the held-out episodes, with its expert and a random policy for comparison.

    The scores of expert and random policy are read from `baselines/` in the folder that contains the run, or measured and kept
    there. Delete it to measure them again.

    Args:
        path: the run's folder.
        episodes: number of episodes; None: `evaluation.episodes` of the run, or 50.
        video: record the first episode to `video.mp4` in the run's folder.
        progress: called as episodes end.

    Raises:
        InputError: there is no run, no policy or no environment, or the environment cannot be shown in a video.
        RunError: the environment, the expert or a worker failed.
    """
    run = open_run(path)
    config, policy = run.config.model_copy(update={"runs": str(run.path.parent)}), run.policy()
    if config.env is None:
        raise InputError(f"{path}: the run has no environment: evaluate it in Python, distil.evaluate(policy, env=...)")
    if video:
        check_video(config.env)
    with Session(config, progress) as session:
        num = episodes or config.evaluation.episodes or _EPISODES
        results = {"policy": session.evaluate("policy", num, policy.ref, act=config.evaluation.act)}
        baselines = None if config.is_paid else session.baselines(num)
        if baselines is not None:
            results |= _references(session, num)
        film = (
            record_video(config.env, policy.ref, results["policy"].seeds[0], run.path / "video.mp4", name=run.path.name)
            if video
            else None
        )
    return Outcome(results=results, baselines=baselines, video=film)


def _references(session: Session, num: int) -> dict[str, EvalResult]:
    """Return the results of the experts and of the random policy; several experts by name."""
    found = session.scores(num)
    experts = {f"expert {name}" if len(found) > 1 else "expert": result for name, result in found.items()}
    return {**experts, "random": session.score("random", num)}


def evaluate_expert(recipe: str | Path, overrides: Overrides | None = None, *, progress: Progress = silent) -> Outcome:
    """Score a recipe's expert on the held-out episodes, with a random policy for comparison.

    The scores are read from `<runs>/baselines`, or measured and kept there. Delete that folder to measure them again.

    Args:
        recipe: the name of a shipped recipe, a file, or a run's folder.
        overrides: dotted key -> value.
        progress: called as episodes end.

    Raises:
        InputError: the configuration is wrong, there is no expert, or each of its answers costs (`expert.paid`).
        RunError: the environment, the expert or a worker failed.
    """
    config = load_config(recipe, overrides)
    if config.expert is None:
        raise InputError(f"{recipe}: no expert to evaluate: set expert.kind")
    if config.is_paid:
        raise InputError(f"{recipe}: expert.paid=true, so it is not asked for scores: set expert.paid=false to evaluate it")
    with Session(config, progress) as session:
        num = config.evaluation.episodes or _EPISODES
        results = _references(session, num)
        return Outcome(results=results, baselines=session.baselines(num))


def evaluate(
    policy: Predictor,
    *,
    env: str | Mapping[str, Any],
    episodes: int = 50,
    act: ActMode = "point",
    num_workers: NumWorkers = "auto",
    progress: Progress = silent,
) -> EvalResult:
    """Score a policy on held-out episodes of an environment.

    Args:
        policy: from `load_policy` or `Run.policy`.
        env: a Gymnasium id, or an environment's configuration.
        episodes: number of episodes; their seeds are the same for every policy.
        act: the policy's default actions ("point"), or samples that depend on an episode's seed alone ("sample").
        num_workers: number of Ray actors, as in `rollouts.num_workers`; 0: in this process.
        progress: called as episodes end.

    Returns:
        The returns [E], lengths [E] and successes [E] of E episodes.

    Raises:
        InputError: the environment cannot be made, or its spaces are not the policy's.
        RunError: the environment or a worker failed.
    """
    described = {"id": env} if isinstance(env, str) else dict(env)
    config = validate(RunConfig, {"env": described, "rollouts": {"num_workers": num_workers}})
    with Session(config, progress) as session:
        return session.evaluate("policy", episodes, policy.ref, act=act)


def label(
    path: Path | str,
    *,
    expert: Mapping[str, Any],
    select: Mapping[str, Any] | None = None,
    again: bool = False,
    num_workers: NumWorkers = "auto",
    service: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> LabelReport:
    """Ask an expert about the steps of a store's episodes that have no label, and publish its answers as a new version.

    Args:
        path: the store's folder, or URL.
        expert: an expert's configuration, such as `{"kind": "sb3", "path": "X.zip"}`.
        select: which episodes, with the keys of `data.select`; None: all.
        again: ask about all steps and replace their labels.
        num_workers: number of Ray actors, as in `rollouts.num_workers`; 0: in this process.
        service: how to ask a slow or unreliable expert in separate actors, with the keys of `rollouts.service`; None: directly.
        progress: called as episodes are done.

    Raises:
        InputError: there is no such store, expert or episode, or the expert is for other spaces.
        RunError: the expert or the disk failed. Its answers so far are kept, and the same call continues from there.
    """
    settings = {"expert": dict(expert), "select": dict(select or {}), "again": again, "num_workers": num_workers}
    settings["service"] = None if service is None else dict(service)
    config = validate(LabelConfig, settings)
    store = Store.open(path)
    chosen = None if config.select.is_everything else config.select.resolve(store.snapshot()).episodes.uid.tolist()
    built = config.build(store.spec)
    key = config.key(built, store.spec)
    with config.asking(built, store.spec) as asked:
        return label_store(store, asked, key=key, uids=chosen, again=again, num_workers=num_workers, progress=progress)
