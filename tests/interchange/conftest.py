"""Stores that hold everything an episode can: what an importer must bring back from what an exporter wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from distil.spaces import SpaceSpec, action_spec, observation_spec
from distil.store import Snapshot, Store, StoreSpec
from distil.types import Array, Episode

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float64)
NESTED = spaces.Dict(image=spaces.Box(0, 255, (36, 34, 3), np.uint8), state=spaces.Tuple([VECTOR, spaces.Discrete(5, start=2)]))
BOX = spaces.Box(np.array([-1.0, -2.5], np.float32), np.array([1.0, 2.5], np.float32))

MakeStore = Callable[..., Snapshot]
Same = Callable[[Sequence[Episode], Sequence[Episode]], None]


def random_rows(spec: SpaceSpec, num: int, rng: np.random.Generator) -> dict[str, Array]:
    rows = {}
    for leaf in spec.leaves:
        if leaf.kind == "box":
            values = rng.integers(0, 256, (num, *leaf.shape)) if leaf.is_image else rng.uniform(-1, 1, (num, *leaf.shape))
        else:
            values = leaf.start + rng.integers(0, np.reshape(leaf.nvec, leaf.shape), (num, *leaf.shape))
        rows[leaf.name] = values.astype(leaf.dtype)
    return rows


def random_episode(spec: StoreSpec, number: int, num: int, mixed: bool, rng: np.random.Generator) -> Episode:
    actions, labels = (random_rows(spec.action, num, rng)["action"] for _ in range(2))
    labelled = rng.integers(0, 2, num).astype(np.uint8) if mixed else np.ones(num, np.uint8)
    mask = labelled.astype(bool).reshape(-1, *[1] * (actions.ndim - 1))
    return Episode(
        observations=random_rows(spec.observation, num + 1, rng),
        actions=actions,
        rewards=rng.normal(size=num),
        terminated=number % 3 == 0,
        truncated=number % 3 == 1,
        expert_actions=np.where(mask, labels, 0).astype(labels.dtype) if mixed else actions,
        labelled=labelled,
        acted_by_expert=rng.integers(0, 2, num).astype(np.uint8) if mixed else labelled,
        policy_version=number - 1,
        round=number,
        seed=1000 + number,
        uid=f"stream-{number:04d}",
        source="expert:test",
        success=(None, True, False)[number % 3],
        infos=tuple(f'{{"height": {t}.5}}' for t in range(num)) if mixed else None,
    )


def store_maker(folder: Path) -> MakeStore:
    def make(
        observation: spaces.Space[object] = VECTOR,
        action: spaces.Space[object] = BOX,
        lengths: Sequence[int] = (4, 1, 7),
        mixed: bool = False,
        name: str = "store",
    ) -> Snapshot:
        infos = ("height",) if mixed else ()
        spec = StoreSpec(observation=observation_spec(observation), action=action_spec(action), infos=infos, env={"id": "X-v0"})
        store, rng = Store.create(folder / name, spec), np.random.default_rng(7)
        writer = store.writer("test")
        for number, num in enumerate(lengths):
            writer.add(random_episode(spec, number, num, mixed, rng))
        entry = writer.seal()
        assert entry is not None
        return store.commit([entry])

    return make


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Make a store; `mixed`: a learner acted at some steps, some labels are missing, infos are kept."""
    return store_maker(tmp_path)


@pytest.fixture(scope="module")
def module_store(tmp_path_factory: pytest.TempPathFactory) -> MakeStore:
    """As `make_store`, for the fixtures of a module."""
    return store_maker(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def same() -> Same:
    """Assert that episodes are equal in every field and every type."""

    def check(ours: Sequence[Episode], theirs: Sequence[Episode]) -> None:
        assert len(ours) == len(theirs)
        for left, right in zip(ours, theirs, strict=True):
            assert set(left.observations) == set(right.observations)
            for name, values in left.observations.items():
                assert values.dtype == right.observations[name].dtype
                np.testing.assert_array_equal(values, right.observations[name], err_msg=name)
            for name, value in vars(left).items():
                other = getattr(right, name)
                if isinstance(value, np.ndarray):
                    assert value.dtype == other.dtype, name
                    np.testing.assert_array_equal(value, other, err_msg=name)
                elif name != "observations":
                    assert value == other, name

    return check


@pytest.fixture
def all_episodes() -> Callable[[Snapshot], list[Episode]]:
    return lambda snapshot: [snapshot.episode(index) for index in range(snapshot.num_episodes)]


@pytest.fixture
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of Minari's local datasets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"
