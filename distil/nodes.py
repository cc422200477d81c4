"""The nodes of a Ray cluster, looked at before work starts: their distil, their clock, and whether they see shared folders.

What differs would be found later otherwise, in the middle of a run, and seldom by its name.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distil import nodefacts
from distil.cluster import matches
from distil.durable import discard, replace_durably
from distil.errors import InputError, RunError
from distil.nodefacts import facts

_ANSWER_S = 60.0  # a process that imports Ray may have to start
_CLOCK_S = 2.0  # tolerated difference
_PATIENCE_S = 5.0  # a network file system may show a new file late


@dataclass(frozen=True)
class Shared:
    """A folder that several nodes need.

    Args:
        key: the configuration's key that names it, such as `runs`.
        path: the folder; it need not exist.
        mark: a file in it that all nodes should see with the same content; None: one is written for the check.
    """

    key: str
    path: Path
    mark: str | None = None


def check_nodes(
    ray: Any, *, labels: Sequence[Mapping[str, str]] = ({},), shared: Sequence[Shared] = (), note: Callable[[str], None]
) -> None:
    """Ask every node that actors may be placed on, all at a time.

    Args:
        ray: with a session.
        labels: those that nodes must have, for each group of actors.
        shared: folders that the nodes must see.
        note: told of clocks that differ from this host's.

    Raises:
        InputError: a node has another distil, Python or other packages; or a shared folder isn't what this host sees.
        RunError: a node does not answer.
    """
    nodes = [node for node in ray.nodes() if _holds_work(node) and any(matches(one, node["Labels"]) for one in labels)]
    with ExitStack() as marks:
        wanted = [marks.enter_context(_marked(folder)) for folder in shared]
        own = facts(wanted)
        answers = _answers(ray, nodes, wanted)
    for answer in answers:
        _require_same(answer.host, answer.facts, own)
    for index, folder in enumerate(shared):
        _require_seen(folder, [(answer.host, answer.facts["seen"][index]) for answer in answers])
    for answer in answers:
        there = answer.facts["time"]
        off_s = max(answer.asked - there, there - answer.given)
        if off_s > _CLOCK_S:
            way = "ahead of" if there > answer.given else "behind"
            note(f"{answer.host}: its clock is {off_s:.0f} s {way} this host's; times in MLflow will be off: set it (NTP)")


def _holds_work(node: Mapping[str, Any]) -> bool:
    """Return whether actors may come to a node: it is alive, and no head that was started without CPUs and GPUs."""
    return bool(node["Alive"]) and any(node["Resources"].get(name, 0) > 0 for name in ("CPU", "GPU"))


@contextmanager
def _marked(folder: Shared) -> Iterator[tuple[str, str]]:
    """Yield a file in a folder, and its content: the given one, or one that is removed at the end."""
    path = folder.path.resolve()
    if folder.mark is not None:
        yield str(path / folder.mark), (path / folder.mark).read_text(encoding="utf-8", errors="replace")
        return
    while not path.is_dir():
        path = path.parent
    name = path / f".distil-{secrets.token_hex(8)}"
    try:
        replace_durably(name, name.name.encode())
    except OSError as error:
        raise InputError(
            f"{folder.key}={folder.path}: no file can be written there ({error.strerror}); choose another one"
        ) from None
    try:
        yield str(name), name.name
    finally:
        discard(name)


@dataclass(frozen=True)
class _Answer:
    host: str  # for messages
    facts: dict[str, Any]
    asked: float  # the times between which it was given, of this host's clock
    given: float


def _answers(ray: Any, nodes: Sequence[Mapping[str, Any]], marks: Sequence[tuple[str, str]]) -> list[_Answer]:
    """Return the answer of each node; RunError if one gives none."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    before, waiting = time.time(), {}
    ray.cloudpickle.register_pickle_by_value(nodefacts)
    try:
        remote = ray.remote(num_cpus=0, max_retries=0)(facts)
        for node in nodes:
            there = remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            waiting[there.remote(marks, _PATIENCE_S)] = node
    finally:
        ray.cloudpickle.unregister_pickle_by_value(nodefacts)
    found = list[_Answer]()
    until = time.monotonic() + _ANSWER_S + _PATIENCE_S
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=max(0.0, until - time.monotonic()))
        if not done:
            names = ", ".join(name_of(node) for node in waiting.values())
            raise RunError(
                f"{names}: no answer in {_ANSWER_S + _PATIENCE_S:.0f} s: see that node's Ray, or take it out of the cluster"
            )
        after = time.time()
        node = waiting.pop(done[0])
        try:
            found.append(_Answer(name_of(node), ray.get(done[0]), before, after))
        except ray.exceptions.RayError as error:
            if any(one["NodeID"] == node["NodeID"] and one["Alive"] for one in ray.nodes()):
                reason = " ".join(str(error).split())[-300:]
                raise RunError(f"{name_of(node)}: could not be asked for its versions: {reason}") from None
    return found  # a node that left meanwhile is not missed


def name_of(node: Mapping[str, Any]) -> str:
    """Return a node's name for messages: its host and address."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _require_same(host: str, answer: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    here = socket.gethostname()
    fix = "install the same on every node, from requirements.lock"
    if answer["code"] is None:
        raise InputError(f"{host}: the Python of its Ray has no distil: {fix}")
    if answer["python"] != own["python"]:
        raise InputError(f"{host}: Python {answer['python']}, and {here} has {own['python']}: {fix}")
    for name, version in own["packages"].items():
        theirs = answer["packages"][name]
        if theirs != version and (theirs is not None or name == "distil") and version is not None:
            raise InputError(f"{host}: {name} {theirs or 'is missing'}, and {here} has {version}: {fix}")
    if answer["code"] != own["code"]:
        raise InputError(f"{host}: its distil has other code ({answer['code']}) than {here}'s ({own['code']}): {fix}")


def _require_seen(folder: Shared, found: Sequence[tuple[str, str]]) -> None:
    missing = [(host, state) for host, state in found if state != "same"]
    if missing:
        where = "; ".join(f"{host}: {state}" for host, state in missing)
        raise InputError(
            f"{folder.key}={folder.path}: {socket.gethostname()} sees it and other nodes don't ({where}): choose a folder on a "
            "file system that all nodes mount at the same path" + (", or an object store" if folder.key == "data.path" else "")
        )
