"""Several hosts for real: network namespaces with their own addresses, names and temporary folders, and a token.

Takes minutes, and root: run with DISTIL_HOSTS=1.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hostbed
import pytest

import distil

REASON = hostbed.why_not() or ("" if os.environ.get("DISTIL_HOSTS") else "takes minutes: set DISTIL_HOSTS=1")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hostbed.Cluster]:
    found = hostbed.Cluster(tmp_path_factory.mktemp("net"))
    yield found
    found.close()


SMALL = ["data.episodes=2", "learner.num_steps=10", "evaluation.episodes=2", "tracking.enabled=false"]


def train(cluster: hostbed.Cluster, host: hostbed.Host, *words: str) -> tuple[int, str]:
    """Run `distil train cartpole-bc` on a host; return its exit code and what it said."""
    command = [sys.executable, "-m", "distil", "train", "cartpole-bc", *SMALL, *words]
    process = host.popen("env", f"RAY_ADDRESS={cluster.head.address}:6379", *command, log="driver.log")
    code = process.wait(timeout=300)
    return code, host.log("driver.log")


def test_a_folder_that_a_host_does_not_see_is_refused_with_its_name(cluster: hostbed.Cluster) -> None:
    first, second = cluster.hosts
    code, said = train(cluster, first, f"data.path={cluster.private}/demos", f"runs={cluster.shared}/runs")
    assert code == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith(f"distil: data.path={cluster.private}/demos: {first.name} sees it and other nodes don't (")
    assert f"({second.name} ({second.address}): other files)" in last
    assert not (cluster.shared / "runs").exists()


def test_hosts_with_another_distil_are_refused_with_their_names(cluster: hostbed.Cluster, tmp_path: Path) -> None:
    """Workers take distil from the environment of their host's Ray, whatever the driver has."""
    other = tmp_path / "other"  # not the current folder: that is on the workers' path, too
    shutil.copytree(Path(distil.__file__).parent, other / "distil", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "distil" / "another.py").write_text("")
    command = ["env", f"RAY_ADDRESS={cluster.head.address}:6379", f"PYTHONPATH={other}", sys.executable, "-m", "distil"]
    first = cluster.hosts[0]
    process = first.popen(*command, "train", "cartpole-bc", *SMALL, log="driver.log")
    assert process.wait(timeout=300) == 2
    said = first.log("driver.log").strip().splitlines()[-1]
    assert re.match(r"distil: host\d \(10\.[0-9.]+\): its distil has other code \(\w+\) than host2's \(\w+\): install", said)


def test_two_learners_on_two_hosts(cluster: hostbed.Cluster) -> None:
    words = ["learner.num_learners=2", "learner.resources={place: 1}", "learner.labels={host: 'in(host2, host3)'}"]
    words += ["rollouts.labels={host: host3}", f"data.path={cluster.shared}/demos", f"runs={cluster.shared}/runs"]
    code, said = train(cluster, cluster.hosts[0], *words)
    assert code == 0, said
