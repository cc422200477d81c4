"""How a pool reaches its actors: it starts them, hears of their answers, and ends them. Nothing else of a pool knows Ray.

Ray says when an answer is there (`ObjectRef.future`), so that nobody has to look through all calls under way.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from distil.cluster import Request, ensure_ray, why_died
from distil.errors import InputError, RunError


class Transport(Protocol):
    """Starts actors and reaches them. `actor.METHOD.remote(...)` starts a call and returns its reference."""

    what: str  # the actors, for messages

    def start(self) -> Any:
        """Start an actor; return its handle at once. It has a method `ready` that returns None."""

    def answer(self, reference: Any) -> Future[Any]:
        """Return what gets the value or the error of a call; its callbacks may run in any thread."""

    def why_gone(self, error: Exception) -> str | None:
        """Return in one line why an actor is gone, if the error of a call says that; None: the actor raised it."""

    def cancel(self, reference: Any) -> None:
        """Tell an actor to abandon a call."""

    def kill(self, actor: Any) -> None:
        """End an actor, which may be dead already."""

    def not_placed(self, waited_s: float) -> RunError:
        """Return the error for actors that did not start in time."""


class RayTransport:
    """Actors of a Ray session.

    Args:
        actor: their class; it is made with the setup.
        setup: what each actor needs; goes through Ray's object store once.
        room: what the actors need of the cluster.
        what: the part of the setup that pickling may refuse, for the error, such as `the expert`.
        address: of a running Ray cluster; None: see `ensure_ray`.
        num_cpus: smallest number of logical CPUs of a Ray session that is started here.

    Raises:
        InputError: the cluster can never hold an actor, or the setup can't be pickled.
        RunError: there is no Ray session, and none can be started.
    """

    def __init__(
        self, actor: type, setup: object, *, room: Request, what: str, address: str | None = None, num_cpus: int = 1
    ) -> None:
        self.ray, self.what = ensure_ray(address, num_cpus), room.what
        self._room = room
        room.require_possible(self.ray)
        self._setup = send(self.ray, setup, f"{what} can't be sent to workers", room.fix)
        self._class = self.ray.remote(**room.options, max_restarts=0)(actor)

    def start(self) -> Any:
        """See `Transport.start`."""
        return self._class.remote(self._setup)

    def answer(self, reference: Any) -> Future[Any]:
        """See `Transport.answer`; the callbacks run in a thread of Ray's."""
        future: Future[Any] = reference.future()
        return future

    def why_gone(self, error: Exception) -> str | None:
        """See `Transport.why_gone`."""
        faults = self.ray.exceptions
        gone = isinstance(error, faults.RayError) and not isinstance(error, faults.RayTaskError)
        return why_died(error) if gone else None

    def cancel(self, reference: Any) -> None:
        """See `Transport.cancel`."""
        self.ray.cancel(reference)

    def kill(self, actor: Any) -> None:
        """See `Transport.kill`."""
        self.ray.kill(actor)

    def not_placed(self, waited_s: float) -> RunError:
        """See `Transport.not_placed`."""
        return self._room.not_placed(self.ray, waited_s)


def send(ray: Any, value: object, fault: str, fix: str) -> Any:
    """Put a value into Ray's object store and return its reference; InputError if it can't be pickled."""
    try:
        return ray.put(value)
    except Exception as error:  # whatever pickling the user's expert raises
        reason = " ".join(str(error.__cause__ or error).split())  # Ray's own text has many lines
        raise InputError(f"{fault}: {reason}; {fix}") from error
