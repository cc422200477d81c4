"""Episodes that say where they come from: observation = 1000 * number + step, label = 10 * number + step."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.types import Episode

MakeEpisode = Callable[..., Episode]


@pytest.fixture
def spec() -> StoreSpec:
    return StoreSpec(
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (2,), np.float64)),
        action=action_spec(spaces.Box(-1e9, 1e9, (1,), np.float32)),
        env={"id": "Numbers-v0"},
    )


@pytest.fixture
def make_episode() -> MakeEpisode:
    def make(number: int, length: int, **changes: object) -> Episode:
        steps = np.arange(length + 1, dtype=np.float64)
        actions = (10.0 * number + steps[:length, None]).astype(np.float32)
        facts: dict[str, object] = {
            "observations": {"obs": np.stack([1000.0 * number + steps, -steps], axis=1)},
            "actions": actions,
            "rewards": np.full(length, float(number)),
            "terminated": number % 2 == 0,
            "truncated": number % 2 == 1,
            "expert_actions": actions,
            "labelled": np.ones(length, np.uint8),
            "acted_by_expert": np.ones(length, np.uint8),
            "seed": number,
            "uid": f"test-{number:04d}",
            "source": "expert:test",
        }
        return Episode(**(facts | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def fill(tmp_path: Path, spec: StoreSpec, make_episode: MakeEpisode) -> Callable[..., Store]:
    """Make a store of episodes 0, 1, ... of the given lengths, `shards[i]` being the shard of episode i."""

    def make(lengths: list[int], shards: list[int] | None = None, name: str = "store") -> Store:
        store = Store.create(tmp_path / name, spec)
        chosen = shards or [0] * len(lengths)
        entries = []
        for shard in sorted(set(chosen)):
            writer = store.writer(f"w{shard}")
            for number in reversed(range(len(lengths))):
                if chosen[number] == shard:
                    writer.add(make_episode(number, lengths[number]))
            entries.append(writer.seal())
        store.commit([entry for entry in entries if entry])
        return store

    return make


def _every_type(codecs: Mapping[str, str]) -> tuple[StoreSpec, list[Episode]]:
    """Return a spec with every kind of leaf, and episodes with each way to end."""
    space = spaces.Dict(
        image=spaces.Box(0, 255, (4, 5, 3), np.uint8),
        parts=spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2), spaces.Box(-1, 1, (), np.float32))),
        on=spaces.Box(0, 1, (2,), np.bool_),
    )
    spec = StoreSpec(
        observation=observation_spec(space), action=action_spec(spaces.Discrete(4, start=1)), infos=("success",), codecs=codecs
    )
    space.seed(0)
    episodes = []
    for number, (terminated, truncated) in enumerate([(True, False), (False, True), (True, True)]):
        observations = [spec.observation.flatten(space.sample()) for _ in range(4)]
        episodes.append(
            Episode(
                observations={leaf: np.stack([o[leaf] for o in observations]) for leaf in observations[0]},
                actions=np.array([1, 2, 3]),
                rewards=np.array([0.5, np.nan, -1.0]),
                terminated=terminated,
                truncated=truncated,
                expert_actions=np.array([4, 0, 1]),
                labelled=np.array([1, 0, 1], np.uint8),
                acted_by_expert=np.array([0, 0, 1], np.uint8),
                policy_version=3,
                round=2,
                seed=(1 << 31) - 1,
                uid=f"e{number}",
                source="expert:é",
                success=(None, True, False)[number],
                infos=('{"success": false}', "", '{"success": true}'),
            )
        )
    return spec, episodes


@pytest.fixture
def every_type() -> Callable[[Mapping[str, str]], tuple[StoreSpec, list[Episode]]]:
    return _every_type


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a local S3 server."""
    pytest.importorskip("moto", reason="moto isn't installed")
    script = Path(__file__).parents[1] / "s3server.py"
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.kill()


@pytest.fixture
def s3(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket; local copies go to a folder of the test's own."""
    name = f"b{uuid.uuid4().hex}"
    request = urllib.request.Request(f"{s3_endpoint}/{name}", method="PUT")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=a/20300101/us-east-1/s3/aws4_request")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    names = {"ENDPOINT_URL": s3_endpoint, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}
    for key, value in names.items():
        monkeypatch.setenv(f"AWS_{key}", value)
    monkeypatch.setenv("DISTIL_CACHE", str(tmp_path / "cache"))
    return f"s3://{name}"
