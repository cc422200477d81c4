from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import distil
from distil.errors import InputError, RunError
from distil.interchange.add import Store
from distil.interchange.spaces import spec_of
from distil.store import StoreSpec

OBS, ACTS = np.arange(8.0).reshape(4, 2), [0, 1, 1]


def test_the_first_arrays_say_the_spaces(tmp_path: Path) -> None:
    store = distil.Store.create(tmp_path / "store")
    with pytest.raises(InputError, match="no episodes yet: the first `add` makes the store"):
        store.snapshot()
    snapshot = store.add(observations=OBS, actions=ACTS, rewards=[1, 2, 3], terminated=True, success=True, source="me")
    assert (store.spec.observation.describe(), store.spec.action.describe()) == ("Box(2) float64", "Discrete(2)")
    episode = snapshot.episode(0)
    assert (episode.terminated, episode.truncated, episode.success, episode.source) == (True, False, True, "me")
    assert (episode.rewards.tolist(), episode.actions.tolist(), episode.labelled.tolist()) == ([1, 2, 3], ACTS, [1, 1, 1])
    np.testing.assert_array_equal(episode.observations["obs"], OBS)
    assert store.add(observations=OBS, actions=ACTS, rewards=[1, 2, 3], terminated=True, success=True, source="me").version == 1
    assert store.add(observations=OBS + 1, actions=ACTS, demonstrations=False).num_episodes == 2
    assert store.snapshot().episodes.num_labelled.tolist() == [0, 3]
    assert Store.open(tmp_path / "store").add(observations=OBS + 2, actions=ACTS).num_episodes == 3
    with pytest.raises(InputError, match="a store already exists"):
        distil.Store.create(tmp_path / "store")
    with pytest.raises(InputError, match=r"don't fit the store's spaces: obs is \[3\] in the data, \[2\] in the store"):
        store.add(observations=np.zeros((4, 3)), actions=ACTS)


def test_several_episodes_of_nested_observations(tmp_path: Path) -> None:
    """CORRECTNESS 2: each episode's final observation is its own."""
    at = np.arange(9.0)  # episodes of 3 and 4 steps: 4 and 5 observations
    observations = {"arm": {"pose": np.stack([at, -at], 1)}, "image": np.zeros((9, 8, 8, 3), np.uint8), "gap": at}
    snapshot = Store.create(tmp_path / "store").add(
        observations=observations, actions=np.ones((7, 2)), terminated=[0, 0, 1, 0, 0, 0, 0], success=[True, np.nan]
    )
    first, second = sorted((snapshot.episode(i) for i in range(2)), key=lambda episode: episode.length)
    assert first.observations["obs/gap"][:, 0].tolist() == [0, 1, 2, 3]
    assert second.observations["obs/arm/pose"][:, 1].tolist() == [-4, -5, -6, -7, -8]
    assert second.observations["obs/image"].dtype == np.uint8
    assert [(e.terminated, e.truncated, e.success) for e in (first, second)] == [(True, False, True), (False, True, False)]


@pytest.mark.parametrize(("final", "rows", "length"), [("repeat", [0, 1, 2, 2], 3), ("drop", [0, 1, 2], 2)])
def test_without_final_observations_the_user_says_what_to_do(tmp_path: Path, final: Any, rows: Any, length: int) -> None:
    store = Store.create(tmp_path / "store")
    arrays: dict[str, Any] = {"observations": np.arange(3.0)[:, None], "actions": ACTS, "terminated": True}
    with pytest.raises(InputError, match=r"\(3 rows for 3 steps\); give 4 rows, or final_observation='repeat'"):
        store.add(**arrays)
    episode = store.add(**arrays, final_observation=final).episode(0)
    assert (episode.observations["obs"][:, 0].tolist(), episode.length) == (rows, length)
    assert (episode.terminated, episode.truncated) == (final == "repeat", final == "drop")


def test_an_environment_s_spaces(tmp_path: Path) -> None:
    made = gymnasium.make("CartPole-v1")
    for number, given in enumerate(({"env": "CartPole-v1"}, {"env": made}, {"spec": spec_of(made, None, None)})):
        store = Store.create(tmp_path / str(number), **given)
        assert store.spec.env["id"] == "CartPole-v1"
        assert store.add(observations=np.zeros((4, 4)), actions=ACTS).episode(0).observations["obs"].dtype == np.float32
        with pytest.raises(RunError, match=r"episode 0.*action is not one of its 2 choices"):
            store.add(observations=np.ones((4, 4)), actions=[0, 1, 2])
    box = spaces.Box(-1, 1, (2,), np.float32)
    store = Store.create(tmp_path / "spaces", observation_space=spaces.Dict(x=box), action_space=box)
    assert store.spec.action.leaf.high == (1.0,)
    for bad in ({"env": "No-v0"}, {"action_space": box}, {"env": made, "action_space": box}):
        with pytest.raises(InputError, match=r"No-v0|give `env`, or both"):
            Store.create(tmp_path / "bad", **bad)
    assert isinstance(spec_of(None, box, box), StoreSpec)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"observations": "demos.npz"}, "load the arrays first"),
        ({"observations": {}}, "no observations given"),
        ({"observations": {"a": OBS, "b": OBS[:2]}}, "b has 2 rows for 3 steps of 1 episodes: give 4"),
        ({"actions": []}, r"actions must be \[T, ...\] with at least one"),
        ({"rewards": [1, 2]}, "the rewards are"),
        ({"success": "yes"}, "success must be one flag"),
        ({"observations": OBS.astype(str)}, "isn't numbers"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, changes: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        Store.create(tmp_path / "store").add(**{"observations": OBS, "actions": ACTS} | changes)
    assert not (tmp_path / "store").exists()


def test_adding_reads_only_what_is_new(tmp_path: Path) -> None:
    """Its cost doesn't grow with what is in the store: shards that were read before aren't needed."""
    store = Store.create(tmp_path / "store")
    for at in range(3):
        store.add(observations=OBS + at, actions=ACTS)
    (entry, *_) = store.snapshot().entries
    (tmp_path / "store" / entry.path).rename(tmp_path / "away")
    assert store.add(observations=OBS + 3, actions=ACTS).num_episodes == 4
    (tmp_path / "away").rename(tmp_path / "store" / entry.path)
    Store.open(store.path).add(observations=OBS + 4, actions=ACTS)  # somebody else
    assert store.add(observations=OBS + 4, actions=ACTS).version == 5
    assert store.verify() == []
