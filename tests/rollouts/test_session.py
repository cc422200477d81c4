"""Ray itself is started and joined; the rest is in a process of its own, which has no session yet."""

import os
import subprocess
import sys
from typing import Any

import pytest

from distil.rollouts.session import ensure_ray

ALONE = """
import sys
from distil.errors import RunError
from distil.rollouts.session import ensure_ray
assert "ray" not in sys.modules  # only who needs it pays for it
try:
    ensure_ray(sys.argv[1] or None, 1)
except RunError as error:
    print(error)
"""


@pytest.mark.ray
def test_a_session_that_runs_is_taken_as_it_is(ray_session: Any) -> None:
    node = ray_session.get_runtime_context().get_node_id()
    assert ensure_ray(None, 99) is ray_session
    assert ensure_ray("192.0.2.1:6379", 1) is ray_session  # an address is for who has none yet
    assert ray_session.get_runtime_context().get_node_id() == node
    assert ray_session.cluster_resources()["CPU"] == 8


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_cluster_that_cannot_be_joined_is_one_line_with_a_way_out(how: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    if how == "environment":
        env["RAY_ADDRESS"] = "nonsense"
    command = [sys.executable, "-c", ALONE, "nonsense" if how == "argument" else ""]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith("Ray: the cluster at nonsense can't be used: ")
    assert line.endswith("without Ray: rollouts.num_workers=0")
    assert "Traceback" not in done.stderr


def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE, "127.0.0.1:1"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Ray: the cluster at 127.0.0.1:1 can't be used: [Errno 111]")


@pytest.mark.ray
def test_a_session_of_our_own_has_the_room_that_was_asked_for(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_session, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_session, "init", lambda **settings: asked.append(settings))
    for num_cpus in (1, 1000):
        ensure_ray(None, num_cpus)
    assert [settings["num_cpus"] for settings in asked] == [os.cpu_count() or 1, 1000]
    assert {settings["address"] for settings in asked} == {"local"}  # never a cluster that happens to run here
    assert asked[0]["object_store_memory"] <= 2**28  # data don't pass through it
