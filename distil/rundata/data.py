"""The data of a run: where a round's episodes go, what the streams of its update draw from, and what all episodes have cost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace

from distil.errors import InputError
from distil.learners.data import Streams
from distil.plans import Metrics, Round, Spent, StreamPlan, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.runconfig import RunConfig
from distil.rundata.agent import AgentEpisodes
from distil.rundata.demos import Demos, Mixture, NoDemos, OwnStore
from distil.rundata.distance import has_states, state_distance
from distil.rundata.pinning import pin
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Snapshot, Store, StoreSpec
from distil.store.mixture import distinct
from distil.tracking import DatasetInfo

_DIGEST = 8  # characters of a snapshot's digest that people see


class RunData:
    """The episodes of a run. Whatever an update reads is pinned: a resumed round reads the same."""

    def __init__(self, demos: Demos, agent: AgentEpisodes | None) -> None:
        """Use the demonstrations and the episodes of the run's own policies (None: there is no environment)."""
        self._demos, self._agent = demos, agent

    @property
    def spec(self) -> StoreSpec:
        """The demonstrations' spaces."""
        return self._demos.spec

    @property
    def version(self) -> int | None:
        """Version of the demonstrations' store; None: there are several, or nothing is collected yet."""
        return self._demos.version

    @property
    def num_ahead(self) -> int:
        """Number of later rounds whose collection has started."""
        return self._demos.num_ahead

    def collect(self, todo: Round, policy: PolicyRef) -> Metrics:
        """Collect the round's episodes, unless the journal has them, then start to collect ahead.

        Args:
            todo: the round.
            policy: the one that the previous round ended with.
        """
        if todo.collect is None or todo.collect.into == "demos":
            return self._demos.collect(todo, policy)
        assert self._agent is not None  # rounds that collect need an environment
        own = self._agent.collect(todo.collect, policy)
        return {**self._demos.collect(replace(todo, collect=None), policy), **own}

    def streams(self, plan: UpdatePlan) -> Streams:
        """Return what the update draws from, by the names in its plan.

        Raises:
            InputError: nothing is collected yet for one of them.
            RunError: episodes that it needs are gone.
        """
        sources: Mapping[str, Demos | AgentEpisodes | None] = {"demos": self._demos, "agent": self._agent}
        found = {}
        for name, stream in plan.streams.items():
            source = sources[stream.source]
            if source is None:
                raise InputError(f"the update's stream {name!r} reads the agent's episodes, and there is no env: set env.id")
            found[name] = source.training(stream, plan.round)
        return found

    def spent(self) -> Spent:
        """Return what the run's episodes have cost, of both kinds together."""
        parts = [self._demos.spent(), *([self._agent.spent()] if self._agent is not None else [])]
        return Spent(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(Spent)})

    def episode_length(self, round_index: int) -> float | None:
        """Return the mean number of steps of the episodes of its own policies that a round collected; None: there are none."""
        return None if self._agent is None else self._agent.mean_length(round_index)

    def looking(self, todo: Round) -> AbstractContextManager[Store | None]:
        """A store for the episodes of a round's evaluation, which is removed afterwards; None if only their returns count."""
        assert self._agent is not None  # rounds that evaluate need an environment
        is_read = todo.choose == "learned" or (todo.compare and has_states(self._demos.spec))
        return self._agent.looking() if is_read else nullcontext()

    def distance(self, round_index: int, own: Snapshot | None = None) -> float | None:
        """Return how far the states of episodes are from the demonstrations', see `state_distance`.

        Args:
            round_index: of the round.
            own: the episodes; None: the agent's newest ones.
        """
        assert self._agent is not None
        newest = StreamPlan(source="agent", num_rounds=1)
        parts = [own] if own is not None else self._agent.training(newest, round_index).parts
        return state_distance(parts, self._demos.training(StreamPlan(), round_index).parts)

    def release(self) -> None:
        """Release the versions that the run has pinned: it is finished."""
        self._demos.release()
        if self._agent is not None:
            self._agent.release()

    def close(self) -> None:
        """Stop what runs in the background."""
        self._demos.close()


def describe(streams: Streams) -> tuple[list[DatasetInfo], int]:
    """Return the parts of all streams as the tracker shows them, and the number of their episodes; copies count once."""
    parts = [part for data in streams.values() for part in data.parts]
    return [_dataset(part) for part in parts], sum(part.num_episodes for part in distinct(parts))


def open_data(config: RunConfig, rundir: RunDir, session: Session) -> RunData:
    """Return the data of the run in `rundir`; the versions of a mixture are those of the run's start.

    Raises:
        InputError: a store is missing, or of other spaces than the environment; or an expert's file isn't the one of the start.
    """
    demos = _open_demos(config, rundir, session)
    if config.env is None:
        return RunData(demos, None)
    spec = _spec(config, session)
    own = AgentEpisodes(rundir, spec, lambda store: session.collector(config, store, rundir.check), session.progress)
    return RunData(demos, own)


def _open_demos(config: RunConfig, rundir: RunDir, session: Session) -> Demos:
    if config.algorithm.needs.demonstrations:
        return (_open_store if config.data.mixture is None else _open_mixture)(config, rundir, session)
    _note_content(rundir, session)
    return NoDemos(spec=_spec(config, session))


def _spec(config: RunConfig, session: Session) -> StoreSpec:
    """Return what a store of the environment's episodes is like."""
    spaces, env = session.spec, config.env.model_dump(mode="json") if config.env is not None else {}
    return StoreSpec(observation=spaces.observation, action=spaces.action, infos=config.rollouts.infos, env=env)


def _open_store(config: RunConfig, rundir: RunDir, session: Session) -> Demos:
    store = session.store(config)
    collector = session.collector(config, store, rundir.check) if config.env is not None else None
    _note_content(rundir, session)
    return OwnStore(store, collector, rundir, config.data, session.progress, config.policy.targets)


def _open_mixture(config: RunConfig, rundir: RunDir, session: Session) -> Demos:
    assert config.data.mixture is not None
    known = rundir.find("pinned", 0)
    mixture = config.data.mixture.pin(known["versions"] if known else None)
    parts = session.mixture(mixture)
    _note_content(rundir, session)
    for part in parts:
        pin(Store.open(part.path), part.version, rundir, session.progress)
    if known is None:
        rundir.append("pinned", round=0, versions=[part.version for part in mixture.parts])
    return Mixture(mixture=mixture, parts=tuple(parts), rundir=rundir)


def _note_content(rundir: RunDir, session: Session) -> None:
    """Compare what the expert and the environment are made of with the journal's; runs of distil 0.1.0 didn't note it."""
    known, now = rundir.find("content", 0), session.content.to_json()
    if known is not None:
        session.require_content(known, str(rundir.path))
    if known is None or any(known[name] != now[name] for name in now):
        rundir.append("content", round=0, **now)


def _dataset(part: Snapshot) -> DatasetInfo:
    facts = {"episodes": part.num_episodes, "transitions": part.num_transitions, "version": part.version}
    name = f"{part.path.name} v{part.version}, {part.num_episodes} episodes"
    return DatasetInfo(name=name, path=str(part.path.resolve()), digest=part.digest[:_DIGEST], profile=facts)
