"""The fleet: runs items in this process or in Ray actors, and returns their outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from distil.cluster import asked_cluster, num_cores
from distil.envs import EnvSpec, GymEnvConfig, ImportEnvConfig
from distil.experts.base import Expert
from distil.experts.team import Team
from distil.policies.spec import PolicyRef
from distil.redaction import redact
from distil.rollouts.auto_pool import AutoPool
from distil.rollouts.config import RolloutConfig
from distil.rollouts.local_pool import LocalPool
from distil.rollouts.loop import EpisodeItem
from distil.rollouts.ray_pool import RayPool
from distil.rollouts.service.actors import Service, check_servable
from distil.rollouts.work import Assignment, EpisodeStats, Job, Outcome, Setup, Workers
from distil.types import Note, Progress, say, silent, unheard


class Fleet:
    """Runs episodes in parallel; the same items give the same episodes with any number of workers.

    Args:
        env: the environment.
        spec: `describe(env)`.
        config: number of workers, and of environments per worker.
        team: the experts that can act and label; built, plain data.
        ledger: folder where a service of experts keeps their answers; None: nowhere.
        alongside: this process computes while the workers run, so with `num_workers: auto` they are other processes.
        reserved: cores of a cluster that are left to learners.

    Raises:
        InputError: an expert can't be served.
    """

    def __init__(
        self,
        *,
        env: GymEnvConfig | ImportEnvConfig,
        spec: EnvSpec,
        config: RolloutConfig,
        team: Team | None = None,
        ledger: Path | None = None,
        alongside: bool = False,
        reserved: int = 0,
    ) -> None:
        self._alongside, self._reserved = alongside, reserved
        self.env, self.spec, self.config, self.team, self._ledger = env, spec, config, team, ledger
        self._pool: Workers | None = None
        self._service: Service | None = None
        self._turn, self._stopped = threading.Lock(), threading.Event()
        if team is not None and config.service is not None:
            check_servable(team)

    @property
    def experts(self) -> Mapping[str, Expert]:
        """The experts by name; the first is the default."""
        return self.team.members if self.team is not None else {}

    @property
    def asked(self) -> Team | None:
        """The experts as workers see them: with a service, which this starts, clients that pass questions on."""
        service = self.config.service
        if self.team is None or service is None:
            return self.team
        if self._service is None:
            self._service = Service(
                self.team,
                self.spec.action.leaf,
                service,
                self._ledger,
                address=self.config.address,
                num_cpus=self.config.num_cpus,
                start_timeout_s=self.config.start_timeout_s,
            )
        return self._service.team

    def run(
        self,
        assignment: Assignment,
        items: Sequence[EpisodeItem],
        policy: PolicyRef | None = None,
        *,
        outcome: Outcome | None = None,
        progress: Progress = silent,
        what: str = "rollouts",
    ) -> Outcome:
        """Run the items, each to its end, and return their outcome.

        Args:
            assignment: what the items have in common.
            items: the episodes.
            policy: the acting policy, if a policy acts.
            outcome: filled step by step, so that it can be read after an error too.
            progress: called as episodes end.
            what: name of the work for `progress`.

        Raises:
            RunError: an environment, expert or disk failed, or workers kept dying on the same items.
            InputError: the agent doesn't fit the environment.
        """
        outcome = Outcome() if outcome is None else outcome
        with self._turn:
            counter = _Counter(len(items), progress, what)
            if items:
                job = Job(
                    assignment=assignment,
                    items=items,
                    policy=policy,
                    outcome=outcome,
                    tell=counter,
                    stopped=self._stopped.is_set,
                )
                self._workers(partial(say, progress)).run(job)
        return outcome

    def stop(self) -> None:
        """End the `run` of another thread with `StoppedError`, and wait for its end."""
        self._stopped.set()
        with self._turn:
            self._stopped.clear()

    def account(self) -> dict[str, float]:
        """Return `expert/*`: counts of what served experts were asked, summed over experts; empty without a service."""
        if self._service is None:
            return {}
        accounts = self._service.account().values()
        names = ("calls", "failures", "labels", "repeated", "given_up", "expert_s")
        return {f"expert/{name}": float(sum(account[name] for account in accounts)) for name in names}

    def expert_fault(self) -> str:
        """Return the text of a served expert's last failure; empty if there is none."""
        accounts = self._service.account().values() if self._service is not None else []
        return next((str(account["error"]) for account in accounts if account["error"]), "")

    def _workers(self, note: Note = unheard) -> Workers:
        if self._pool is None:
            make = self._choose(note)
            self._pool = make(Setup(env=self.env, spec=self.spec, num_envs=self.config.num_envs, team=self.asked))
        return self._pool

    def _choose(self, note: Note) -> Callable[[Setup], Workers]:
        """Return the workers that the configuration asks for; with `auto`, those that fit the machine and the run.

        Ray and its actors take up to half a minute to start, so it is said before.
        """
        config, cores = self.config, num_cores()
        address = asked_cluster(config.address)
        where = f"the cluster at {address}" if address is not None else "this machine"
        if config.num_workers == 0:
            if config.service is not None:
                note(redact(f"rollouts: in this process; the expert's service starts on Ray, on {where}"))
            return LocalPool
        if config.num_workers != "auto":
            note(redact(f"rollouts: starting up to {config.num_workers} Ray actors on {where}"))
            reserved = self._reserved if address is not None else 0  # a session of our own has room for all
            return partial(RayPool, config=config, limit=config.num_workers, reserved=reserved)
        if address is not None:
            note(redact(f"rollouts: starting Ray actors on {where}"))
            return partial(RayPool, config=config, limit=None, reserved=self._reserved)
        if cores == 1:
            note("rollouts: in this process: there is one core")
            return LocalPool
        if self._alongside or config.service is not None:
            note(f"rollouts: starting up to {cores} Ray actors on {where}: the run uses other processes anyway")
            return partial(RayPool, config=config, limit=cores)
        return partial(AutoPool, config=config, note=note)

    def close(self) -> None:
        """End the workers; a later `run` starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._service is not None:
            self._service.close()
            self._service = None


class _Counter:
    """Reports the progress, once for each episode."""

    def __init__(self, total: int, progress: Progress, what: str) -> None:
        self._total, self._progress, self._what = total, progress, what
        self._seen: set[int] = set()
        self._env_steps, self._sum = 0, 0.0
        if total:
            progress(what, 0, total)

    def __call__(self, stats: Sequence[EpisodeStats]) -> None:
        before = len(self._seen)
        for item in stats:
            if item.index not in self._seen:
                self._seen.add(item.index)
                self._env_steps += item.length
                self._sum += item.total_reward
        if len(self._seen) > before:
            mean = self._sum / len(self._seen)
            self._progress(self._what, len(self._seen), self._total, env_steps=self._env_steps, return_mean=mean)
