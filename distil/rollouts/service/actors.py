"""The desk and the experts as Ray actors, and the client that workers use in place of an expert."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distil.cluster import START_TIMEOUT_S, Request, beside_driver, ensure_ray, why_died
from distil.errors import InputError, RunError
from distil.experts.base import Expert, Stateless, label
from distil.experts.team import Team
from distil.policies.acting import act_on_gpu
from distil.rollouts.service.config import ServiceConfig
from distil.rollouts.service.desk import Account, Desk
from distil.rollouts.service.ledger import Ledger
from distil.rollouts.transport import send
from distil.spaces import Leaf
from distil.types import Labels, Observations

_CONCURRENT_ASKERS = 1000
_AHEAD = 2  # calls sent to an expert's actor for each that it works on, so that it never waits for the next one


class Replica:
    """An actor that holds an expert and asks it; a policy that needs torch acts on the actor's GPU, if it has one."""

    def __init__(self, has_gpu: bool) -> None:
        self._has_gpu = has_gpu

    def ready(self) -> None:
        """Return once the actor has started."""

    def load(self, expert: Sequence[Any]) -> None:
        """Load the expert; `expert` is a list with its reference."""
        import ray

        if self._has_gpu:
            act_on_gpu()
        self._expert: Expert = ray.get(expert[0])

    def label(self, observations: Observations) -> Labels:
        """Return the expert's labels."""
        return label(self._expert, observations)


class _Lane:
    """Calls an actor with a time limit, and replaces it if it dies or hangs. Thread-safe."""

    def __init__(self, expert: Sequence[Any], config: ServiceConfig, start_timeout_s: float) -> None:
        import ray

        self._ray, self._expert, self._config, self._start_timeout_s = ray, expert, config, start_timeout_s
        self._lock, self._under_way = threading.Lock(), 0
        options = {"num_cpus": 0, **room(config).options}
        self._class = ray.remote(**options, max_restarts=0, max_concurrency=config.concurrency)(Replica)
        self._actor: Any = None

    def __call__(self, observations: Observations) -> Labels:
        """Return the actor's labels; raises the expert's own error, or one for an actor that died, hangs or can't start."""
        with self._lock:
            if self._actor is None:
                self._actor = self._start()
            actor, turns = self._actor, 1 + self._under_way // self._config.concurrency
            self._under_way += 1
        try:
            labels: Labels = self._ray.get(actor.label.remote(observations), timeout=turns * self._config.timeout_s)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None  # Ray's own text holds a traceback
        except (self._ray.exceptions.RayError, TimeoutError):
            with self._lock:
                if self._actor is actor:
                    self._ray.kill(actor)
                    self._actor = None
            raise
        finally:
            with self._lock:
                self._under_way -= 1
        return labels

    def _start(self) -> Any:
        """Return a new actor that has loaded the expert; the time for it does not count towards a call's time limit."""
        actor = self._class.remote(self._config.num_gpus > 0)
        try:
            self._ray.get(actor.ready.remote(), timeout=self._start_timeout_s)
            self._ray.get(actor.load.remote(self._expert))
        except TimeoutError:
            self._ray.kill(actor)
            raise room(self._config).not_placed(self._ray, self._start_timeout_s) from None
        except self._ray.exceptions.RayTaskError as error:
            self._ray.kill(actor)
            raise error.cause from None  # Ray's own text holds a traceback
        return actor


class DeskActor:
    """The desk as an actor. Ray restarts it if it dies; answers that it kept on disk are not asked again.

    It is created without the expert, since Ray keeps no large arguments for a restart: the client opens a closed desk.
    """

    def __init__(self, action: Leaf, config: ServiceConfig, folder: str | None, start_timeout_s: float) -> None:
        self._action, self._config, self._folder, self._start_timeout_s = action, config, folder, start_timeout_s
        self._desk: Desk | None = None

    async def open(self, expert: Sequence[Any]) -> None:
        """Start to answer; `expert` is a list with its reference. Does nothing if the desk is open."""
        if self._desk is None:
            config = self._config
            lanes = [_Lane(expert, config, self._start_timeout_s) for _ in range(config.replicas)] * (
                _AHEAD * config.concurrency
            )
            ledger = Ledger(Path(self._folder), self._action) if self._folder else None
            self._desk = Desk(lanes, self._action, config, ledger, slots=config.replicas * config.concurrency)

    async def ask(self, observations: Observations) -> Labels | None:
        """Return the labels of leaves [N, ...]; None: the desk has to be opened."""
        if self._desk is None:
            return None
        ticket = self._desk.submit(observations)
        for future in ticket.futures:
            await asyncio.wait([asyncio.wrap_future(future)])
        return ticket.result()

    async def account(self) -> dict[str, Any]:
        """Return the desk's account."""
        return asdict(self._desk.account if self._desk is not None else Account())


@dataclass(eq=False)
class Question:
    """A question, and the reference of its answer."""

    observations: Observations
    reference: Any


class ServedExpert(Stateless):
    """The client that workers use in place of the expert: it asks the desk.

    Args:
        name: the expert's.
        desk: handle of the desk.
        expert: a list with a reference to the expert itself, to open a restarted desk with.
    """

    served = by_row = True

    def __init__(self, name: str, desk: Any, expert: Sequence[Any]) -> None:
        self.name, self._desk, self._expert = name, desk, expert

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None) -> Labels:
        """Return the expert's answers; the mask is False where there are none. `envs` is not used: simulators can't be sent."""
        return self.result(self.submit(observations))

    def submit(self, observations: Observations) -> Question:
        """Ask without waiting; return the question for `result`."""
        return Question(observations, self._desk.ask.remote(dict(observations)))

    def is_ready(self, question: Question) -> bool:
        """Return whether `result` would return at once."""
        import ray

        done, _ = ray.wait([question.reference], timeout=0)
        return bool(done)

    def result(self, question: Question) -> Labels:
        """Return the answers; RunError if the expert's answers can't be actions, or the desk is gone."""
        import ray

        try:
            while (labels := ray.get(question.reference)) is None:
                ray.get(self._desk.open.remote(self._expert))
                question.reference = self._desk.ask.remote(dict(question.observations))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # Ray's own text holds a traceback
        except ray.exceptions.RayError as error:
            raise RunError(f"expert {self.name}: its service is gone: {why_died(error)}") from None
        return Labels(actions=labels.actions.copy(), mask=labels.mask.copy())  # Ray's own are read-only


class Service:
    """The desks of a team's experts.

    Args:
        team: the experts themselves.
        action: the action space.
        config: how they are asked.
        folder: where labels are kept; None: nowhere.
        address: of the Ray cluster.
        num_cpus: smallest number of logical CPUs of a Ray session that is started here.
        start_timeout_s: time limit for the experts' actors to start.

    Raises:
        InputError: an expert reads the simulator, is stateful, or can't be pickled; or the cluster can never hold its actors.
    """

    def __init__(
        self,
        team: Team,
        action: Leaf,
        config: ServiceConfig,
        folder: Path | None,
        *,
        address: str | None,
        num_cpus: int,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        check_servable(team)
        ray = ensure_ray(address, num_cpus)
        room(config).require_possible(ray)
        remote = ray.remote(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_CONCURRENT_ASKERS,
            scheduling_strategy=beside_driver(ray),
        )(DeskActor)
        self._ray, self._desks, members = ray, dict[str, Any](), dict[str, Expert]()
        for name, expert in team.members.items():
            path = str(folder / name.replace("/", "_")) if folder is not None and config.keep else None
            reference = [send(ray, expert, f"expert {name}: can't be sent to its service", "remove rollouts.service")]
            self._desks[name] = remote.remote(action, config, path, start_timeout_s)
            members[name] = ServedExpert(name, self._desks[name], reference)
        self.team = Team(members=members, weights=team.weights)

    def account(self) -> dict[str, dict[str, Any]]:
        """Return each desk's account."""
        return {name: self._ray.get(desk.account.remote()) for name, desk in self._desks.items()}

    def close(self) -> None:
        """Kill the desks; the experts' actors end with them."""
        for desk in self._desks.values():
            self._ray.kill(desk)


def room(config: ServiceConfig) -> Request:
    """Return what the actors of a served expert need from the cluster."""
    each = {name: amount for name, amount in (("CPU", config.num_cpus), ("GPU", config.num_gpus)) if amount} | dict(
        config.resources
    )
    keys = ("replicas", "num_gpus" if config.num_gpus else "num_cpus")
    fix = " or ".join(f"rollouts.service.{key}" for key in keys)
    fix = f"lower {fix}" + (" or change rollouts.service.labels" if config.labels else "")
    return Request(what="actors of a served expert", num=config.replicas, each=each, fix=fix, labels=config.labels)


def check_servable(team: Team) -> None:
    """Raise InputError if an expert can't be asked from another process."""
    for name, expert in team.members.items():
        if expert.needs_env or expert.stateful:
            why = "reads the simulator's state" if expert.needs_env else "must see every step of an episode"
            raise InputError(f"expert {name}: {why}, so it has to run in the workers: remove rollouts.service")
