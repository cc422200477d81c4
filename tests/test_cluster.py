"""Ray sessions: started and joined here; the other tests run in separate processes without a session."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from distil.cluster import SESSION, Request, asked_cluster, ensure_ray, matches, num_cores, usable_cores, why_died
from distil.errors import InputError, RunError

ALONE = """
import sys
from distil.errors import RunError
from distil.cluster import ensure_ray
assert "ray" not in sys.modules  # only who needs it pays for it
try:
    ensure_ray(sys.argv[1] or None, 1)
except RunError as error:
    print(error)
"""


@pytest.mark.ray
def test_a_running_session_is_used(ray_session: Any) -> None:
    node = ray_session.get_runtime_context().get_node_id()
    assert ensure_ray(None, 99) is ray_session
    assert ensure_ray("192.0.2.1:6379", 1) is ray_session  # an address is for who has none yet
    assert ray_session.get_runtime_context().get_node_id() == node
    assert ray_session.cluster_resources()["CPU"] == 8


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_an_unreachable_cluster_is_one_line_with_a_fix(how: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if how == "environment":
        env["RAY_ADDRESS"] = "nonsense"
    command = [sys.executable, "-c", ALONE, "nonsense" if how == "argument" else ""]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("Ray: the cluster at nonsense cannot be used: ")
    assert line.endswith("without Ray: rollouts.num_workers=0")
    assert "Traceback" not in done.stderr


def test_an_address_without_a_listener_fails_immediately() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, "127.0.0.1:1"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Ray: the cluster at 127.0.0.1:1 cannot be used: [Errno 111]")


@pytest.mark.ray
def test_a_new_session_has_the_requested_cpus(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("distil.cluster._own", set())
    monkeypatch.setattr(ray_session, "is_initialized", lambda: False)
    started = SimpleNamespace(address_info={"gcs_address": "127.0.0.1:1"})
    monkeypatch.setattr(ray_session, "init", lambda **settings: (asked.append(settings), started)[1])
    for num_cpus in (1, 1000):
        ensure_ray(None, num_cpus)
    assert [settings["num_cpus"] for settings in asked] == [os.cpu_count() or 1, 1000]
    assert {settings["address"] for settings in asked} == {"local"}  # never a cluster that happens to run here
    assert asked[0]["object_store_memory"] <= 2**28  # data don't pass through it


@pytest.mark.ray
def test_a_session_that_starts_too_slowly_is_one_line(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `rollouts.num_workers: auto`, the work then stays in its process."""

    def init(**settings: Any) -> None:
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session, "init", init)
    with pytest.raises(RunError, match=r"^Ray: a session on this machine cannot be used: The current node timed out during "):
        ensure_ray(None, 1)


SMALL = """
import ray
from distil.cluster import SESSION, Request, ensure_ray
from distil.errors import InputError, RunError
ray = ensure_ray(None, 3)
for num, each in [(3, {"CPU": 1}), (2, {"CPU": 1.5}), (1, {}), (10000, {"CPU": 1}), (1, {"CPU": 0.5, "GPU": 1})]:
    try:
        Request(what="things", num=num, each=each, fix="want less").require_possible(ray)
        print("fits")
    except InputError as error:
        print(error)
"""


@pytest.mark.ray
def test_a_job_does_not_run_on_another_cluster(ray_session: Any) -> None:
    """Ray gives a job the address of another cluster if two share a temporary folder, or have none."""
    address = ray_session.get_runtime_context().gcs_address
    code = f"from distil.cluster import ensure_ray\nensure_ray({address!r}, 1)"
    environment = os.environ | {SESSION: "session_other"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RunError: the job was submitted to session_other, and Ray gave it the address of session_2" in done.stderr


@pytest.mark.ray
def test_actors_that_never_fit_our_own_session_are_refused_immediately() -> None:
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", SMALL], env=env, capture_output=True, text=True, timeout=120, check=True)
    cpus = max(3, os.cpu_count() or 1)
    assert done.stdout.splitlines() == [
        *["fits"] * 3,
        f"things: at least 10000 needed with 1 CPU each; the Ray cluster has {cpus} CPU ({cpus} free): want less",
        f"things: at least 1 needed with 0.5 CPU and 1 GPU each; the Ray cluster has {cpus} CPU ({cpus} free), 0 GPU (0 free): "
        "want less",
    ]


def cluster(*nodes: tuple[dict[str, float], dict[str, str]]) -> Any:
    """Return what Ray says about a cluster with these resources and labels."""
    found = [
        {"Alive": True, "Resources": resources, "Labels": {"ray.io/node-id": "1", **labels}} for resources, labels in nodes
    ]
    total = {name: sum(node["Resources"].get(name, 0) for node in found) for name in ("CPU", "GPU")}
    return SimpleNamespace(nodes=lambda: found, cluster_resources=lambda: total, available_resources=lambda: total)


def request(num: int = 1, labels: dict[str, str] | None = None, **each: float) -> Request:
    return Request(what="things", num=num, each=each, fix="want less", labels=labels or {})


def test_actors_that_never_fit_a_cluster_are_refused_unless_something_adds_nodes() -> None:
    nodes: Any = ({"CPU": 2}, {"role": "a"}), ({"CPU": 3}, {"role": "b"})
    request(5, CPU=1).require_possible(cluster(*nodes))
    with pytest.raises(InputError, match=r"things: at least 6 needed with 1 CPU each; the Ray cluster has 5 CPU .*: want less"):
        request(6, CPU=1).require_possible(cluster(*nodes))
    grows: Any = *nodes, ({"CPU": 0}, {"ray.io/node-group": "workers"})
    request(6, CPU=1).require_possible(cluster(*grows))
    text = str(request(6, CPU=1).not_placed(cluster(*grows), 7))
    assert text.startswith("things: not started in 7 s; at least 6 needed with 1 CPU each; the Ray cluster has 5 CPU (")
    assert text.endswith(" free): wait for it, or want less")


def test_labels_that_no_node_has_and_too_few_nodes_with_them_are_named() -> None:
    ray = cluster(({"CPU": 2}, {"role": "a"}), ({"CPU": 3}, {"role": "b", "zone": "1"}))
    request(3, {"role": "b"}, CPU=1).require_possible(ray)
    with pytest.raises(InputError) as caught:
        request(4, {"role": "b"}, CPU=1).require_possible(ray)
    assert str(caught.value) == (
        "things: at least 4 needed with 1 CPU each on nodes labelled role=b; the Ray cluster has 3 CPU on 1 of them: want less"
    )
    with pytest.raises(InputError) as caught:
        request(1, {"role": "c"}, CPU=1).require_possible(ray)
    assert str(caught.value) == (
        "things: at least 1 needed with 1 CPU each on nodes labelled role=c; the Ray cluster has no such node, its labels are: "
        "role=a, role=b, zone=1: want less"
    )


@pytest.mark.parametrize(
    ("text", "found"), [("a", "a"), ("!a", "b-"), ("in(a, b)", "ab"), ("!in(a,b)", "-"), ("c", ""), ("!c", "ab-")]
)
def test_labels_match_as_ray_matches_them(text: str, found: str) -> None:
    nodes = {"a": {"role": "a"}, "b": {"role": "b"}, "-": {}}
    assert "".join(name for name, labels in nodes.items() if matches({"role": text}, labels)) == found


def test_options_are_those_of_ray() -> None:
    assert request(CPU=1).options == {"num_cpus": 1}
    assert request(1, {"role": "a"}, CPU=0.5, GPU=1, memory=9, big=2).options == {
        "num_cpus": 0.5,
        "num_gpus": 1,
        "memory": 9,
        "resources": {"big": 2},
        "label_selector": {"role": "a"},
    }


def test_the_reason_of_a_death_is_rays_record_of_the_process() -> None:
    told = (
        "The actor died unexpectedly before finishing this task.\n\tclass_name: W\n\tpid: 7\nThe actor is dead because its "
        "worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Killed by\nthe OOM killer."
    )
    assert why_died(RuntimeError(told)) == "Killed by the OOM killer."
    assert why_died(RuntimeError("The node died.\n\tip: 1.2.3.4")) == "The node died."
    assert why_died(RuntimeError(f"Killed. {'x' * 999}")) == "Killed"


def test_the_cores_are_those_of_the_affinity_and_of_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    for limit, cores in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("", 8)):
        monkeypatch.setattr(Path, "read_text", lambda path, limit=limit: limit)
        assert num_cores() == cores


@pytest.mark.ray
def test_the_cores_for_work_are_the_clusters_unless_the_session_is_our_own(ray_session: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("distil.cluster._own", set())
    assert usable_cores(ray_session) == 8
    monkeypatch.setattr("distil.cluster._own", {ray_session.get_runtime_context().gcs_address})
    assert usable_cores(ray_session) == num_cores()


def test_a_cluster_is_asked_for_by_its_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert asked_cluster(None) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert asked_cluster(None) == "10.0.0.1:6379"
    assert asked_cluster("10.0.0.2:6379") == "10.0.0.2:6379"
