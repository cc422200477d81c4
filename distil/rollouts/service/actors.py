"""The desk and the experts as Ray actors, and the expert that workers see in their place."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import InputError, RunError
from distil.experts.base import Expert, Stateless, label
from distil.experts.team import Team
from distil.rollouts.service.config import ServiceConfig
from distil.rollouts.service.desk import Desk
from distil.rollouts.service.ledger import Ledger, empty
from distil.rollouts.session import ensure_ray
from distil.spaces import Leaf
from distil.types import Array, Labels, Observations

_CONCURRENT_ASKERS = 1000
_AHEAD = 2  # calls that an expert's actor has in hand for each that it works on: its next one is there when one ends


class Holder:
    """An actor, where the driver is, that hands the expert out, by a name: what Ray restarts can't keep objects."""

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def expert(self) -> Expert:
        """Return the expert."""
        return self._expert


class Replica:
    """An actor that holds the expert and asks it."""

    def __init__(self, holder: str) -> None:
        import ray

        self._expert: Expert = ray.get(ray.get_actor(holder).expert.remote())

    def ready(self) -> None:
        """Return once the actor has started."""

    def label(self, observations: Observations) -> Labels:
        """Return the expert's labels."""
        return label(self._expert, observations)


class _Lane:
    """Calls an actor, with a time limit; one that died or hangs is replaced. Several threads may call."""

    def __init__(self, holder: str, config: ServiceConfig) -> None:
        import ray

        self._ray, self._holder, self._config = ray, holder, config
        self._lock, self._under_way = threading.Lock(), 0
        options: dict[str, Any] = {"num_cpus": config.num_cpus, "num_gpus": config.num_gpus, "max_restarts": 0}
        self._class = ray.remote(**options, max_concurrency=config.concurrency)(Replica)
        self._actor: Any = None

    def __call__(self, observations: Observations) -> Labels:
        """Return the actor's labels; raises what the expert raised, or that it died or took too long."""
        with self._lock:
            if self._actor is None:
                self._actor = self._class.remote(self._holder)
                self._ray.get(self._actor.ready.remote())  # loading a heavy expert isn't part of a call's time
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


class DeskActor:
    """The desk as an actor. Ray restarts it if it dies; what it had kept on disk isn't asked again."""

    def __init__(self, holder: str, action: Leaf, config: ServiceConfig, folder: str | None) -> None:
        slots = config.replicas * config.concurrency
        lanes = [_Lane(holder, config) for _ in range(config.replicas)] * (_AHEAD * config.concurrency)
        ledger = Ledger(Path(folder), action) if folder else None
        self._desk = Desk(lanes, action, config, ledger, slots=slots)

    async def ask(self, observations: Observations) -> Labels:
        """Return the labels of leaves [N, ...]."""
        ticket = self._desk.submit(observations)
        for future in ticket.futures:
            await asyncio.wait([asyncio.wrap_future(future)])
        return ticket.result()

    async def account(self) -> dict[str, Any]:
        """Return the desk's account."""
        return asdict(self._desk.account)


class ServedExpert(Stateless):
    """What workers have in the expert's place: it asks the desk.

    Args:
        name: the expert's.
        desk: handle of the desk.
        action: the action space.
    """

    served = True

    def __init__(self, name: str, desk: Any, action: Leaf) -> None:
        self.name, self._desk, self._leaf = name, desk, action

    def act(self, observations: Observations, *, envs: Sequence[Any] | None = None, rows: Array | None = None) -> Labels:
        """Return the expert's answers; the mask is False where it has none.

        Args:
            observations: leaf name -> [N, ...].
            envs: not used: a served expert can't look into simulators.
            rows: [N] bool, which ones to ask about; None: all.
        """
        num = len(next(iter(observations.values())))
        labels, chosen = empty(self._leaf, num), np.arange(num) if rows is None else np.flatnonzero(rows)
        if len(chosen):
            answer = self.result(self.submit({name: values[chosen] for name, values in observations.items()}))
            labels.actions[chosen], labels.mask[chosen] = answer.actions, answer.mask
        return labels

    def submit(self, observations: Observations) -> Any:
        """Ask, and return at once a reference for `result`."""
        return self._desk.ask.remote(dict(observations))

    def is_ready(self, reference: Any) -> bool:
        """Return whether `result` would return at once."""
        import ray

        done, _ = ray.wait([reference], timeout=0)
        return bool(done)

    def result(self, reference: Any) -> Labels:
        """Return the answers; RunError if the expert's answers can't be actions, or the desk is gone."""
        import ray

        try:
            labels: Labels = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # Ray's own text holds a traceback
        except ray.exceptions.RayError as error:
            raise RunError(f"expert {self.name}: its service is gone: {' '.join(str(error).split())[:200]}") from None
        return Labels(actions=labels.actions.copy(), mask=labels.mask.copy())  # Ray's own are read-only


class Service:
    """The desks of a team's experts.

    Args:
        team: the experts themselves.
        action: the action space.
        config: how they are asked.
        folder: where labels are kept; None: nowhere.
        address: of the Ray cluster.
        num_cpus: logical CPUs that a session started for it needs at least.

    Raises:
        InputError: an expert reads the simulator, remembers steps, or can't be sent to another process.
    """

    def __init__(
        self, team: Team, action: Leaf, config: ServiceConfig, folder: Path | None, *, address: str | None, num_cpus: int
    ) -> None:
        check_servable(team)
        ray = ensure_ray(address, num_cpus)
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=_CONCURRENT_ASKERS)(DeskActor)
        here = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=True)
        hold = ray.remote(num_cpus=0, scheduling_strategy=here)(Holder)
        self._ray, self._desks, self._holders = ray, dict[str, Any](), list[Any]()
        for name, expert in team.members.items():
            path = str(folder / name.replace("/", "_")) if folder is not None and config.keep else None
            holder = f"distil-expert-{secrets.token_hex(8)}"
            try:
                self._holders.append(hold.options(name=holder).remote(expert))
            except Exception as error:  # whatever pickling the user's expert raises
                raise InputError(f"expert {name}: can't be sent to its service: {error}; take rollouts.service out") from error
            self._desks[name] = remote.remote(holder, action, config, path)
        members: dict[str, Expert] = {name: ServedExpert(name, desk, action) for name, desk in self._desks.items()}
        self.team = Team(members=members, weights=team.weights)

    def account(self) -> dict[str, dict[str, Any]]:
        """Return each desk's account."""
        return {name: self._ray.get(desk.account.remote()) for name, desk in self._desks.items()}

    def close(self) -> None:
        """End the actors; the experts' go with their desk."""
        for actor in (*self._desks.values(), *self._holders):
            self._ray.kill(actor)


def check_servable(team: Team) -> None:
    """Raise InputError if an expert can't be asked from another process."""
    for name, expert in team.members.items():
        if expert.needs_env or expert.stateful:
            why = "reads the simulator's state" if expert.needs_env else "must see every step of an episode"
            raise InputError(f"expert {name}: {why}, so it has to live in the workers: take rollouts.service out")
