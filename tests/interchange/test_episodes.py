from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.episodes import (
    BadEpisodeError,
    Finding,
    check_episode,
    content_digest,
    demonstration,
    facts,
    fit,
    flags,
    join,
    last_flag,
    opening,
    read_facts,
    said_of_joined,
    sift,
    success_in,
)
from distil.spaces import Leaf, action_spec, observation_spec
from distil.store import StoreSpec
from distil.types import Episode

SPEC = StoreSpec(
    observation=observation_spec(spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3, start=1))),
    action=action_spec(spaces.MultiDiscrete([2, 3])),
)
FLOAT32 = Leaf(name="x", kind="box", shape=(2,), dtype="float32")
UINT8 = Leaf(name="x", kind="box", shape=(1,), dtype="uint8")


def episode(**changes: Any) -> Episode:
    made = demonstration(
        observations={"obs/a": np.zeros((4, 2), np.float32), "obs/b": np.full(4, 2, np.int64)},
        actions=np.array([[0, 2], [1, 0], [1, 1]], np.int64),
        rewards=np.arange(3),
        terminated=True,
        truncated=False,
    )
    return replace(made, **changes)


def test_fit_changes_no_value() -> None:
    assert fit(np.array([[1.5, 2], [3, 4]]), FLOAT32, 2).dtype == np.float32
    assert fit([[[1], [2]]], FLOAT32, 1).shape == (1, 2)  # a dimension of 1 is nothing
    np.testing.assert_array_equal(fit(np.array([0.0, 255.0]), UINT8, 2), [[0], [255]])
    np.testing.assert_array_equal(fit(np.array([True, False]), UINT8, 2), [[1], [0]])
    for values, step in (([0.0, 0.5], 1), ([256, 0], 0), ([0, -1], 1), ([0.0, np.nan], 1)):
        with pytest.raises(BadEpisodeError, match="x holds values that uint8 can't") as caught:
            fit(np.array(values), UINT8, 2)
        assert caught.value.step == step
    with pytest.raises(BadEpisodeError, match=r"x is \[3, 2\], should be \[2, 2\]"):
        fit(np.zeros((3, 2)), FLOAT32, 2)
    with pytest.raises(BadEpisodeError, match=r"x is \[2, 2\], should be \[1, 2\]"):
        fit(np.zeros((2, 2)), FLOAT32, 1)
    with pytest.raises(BadEpisodeError, match="isn't numbers but object"):
        fit(np.array([None, None]), UINT8, 2)


@pytest.mark.parametrize(
    ("changes", "text", "step"),
    [
        ({"rewards": np.array([0, np.nan, 0])}, "reward is NaN", 1),
        ({"observations": {"obs/a": np.full((4, 2), np.inf, np.float32), "obs/b": np.ones(4, np.int64)}}, "obs/a is NaN", 0),
        ({"observations": {"obs/a": np.zeros((4, 2), np.float32), "obs/b": np.arange(4)}}, "obs/b is not one of its 3", 0),
        ({"actions": np.array([[0, 2], [1, 0], [2, 0]])}, "action is not one of its 2, 3 choices", 2),
        ({"actions": np.zeros((3, 2))}, "action is float64", None),
        ({"expert_actions": np.zeros((2, 2), np.int64)}, "action is int64", None),
        ({"rewards": np.zeros(0)}, "has no actions", None),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], text: str, step: int | None) -> None:
    check_episode(SPEC, episode())
    with pytest.raises(BadEpisodeError, match=text) as caught:
        check_episode(SPEC, episode(**changes))
    assert caught.value.step == step


def test_a_missing_label_may_hold_anything() -> None:
    labels = np.array([[0, 2], [9, 9], [1, 1]])
    check_episode(SPEC, episode(expert_actions=labels, labelled=np.array([1, 0, 1], np.uint8)))
    with pytest.raises(BadEpisodeError, match="not one of"):
        check_episode(SPEC, episode(expert_actions=labels))


def test_uids_come_from_content() -> None:
    def uids(*episodes: Episode) -> list[str]:
        loaders = [(str(i), lambda value=value: value) for i, value in enumerate(episodes)]
        found = sift(loaders, spec=SPEC, file="f", stem="my data/x", skip_bad=False, report=pytest.fail)
        return [value.uid for value in found]

    first, second, named = uids(episode(), episode(seed=5), episode(uid="kept"))
    assert first.startswith("my-data-x-00000000-")
    assert (named, first[-12:] == second[-12:]) == ("kept", False)
    assert uids(episode()) == [first]
    assert content_digest(episode()) != content_digest(episode(truncated=True)) != content_digest(episode(infos=("a",) * 3))


def test_a_bad_episode_stops_or_is_reported() -> None:
    def broken() -> Episode:
        raise BadEpisodeError("is broken", step=3, file="part.bin")

    loaders = [("e0", broken), ("e1", episode)]
    found: list[Finding] = []
    (kept,) = sift(loaders, spec=SPEC, file="f", stem="s", skip_bad=True, report=found.append)
    assert kept.uid.startswith("s-00000001-")  # its place in the data, whatever was left out
    assert (str(found[0]), found[0].skipped) == ("part.bin: episode e0, step 3: is broken", True)
    with pytest.raises(RunError, match=r"part\.bin: episode e0, step 3: is broken; fix the data"):
        list(sift(loaders, spec=SPEC, file="f", stem="s", skip_bad=False, report=found.append))


def test_facts_come_back() -> None:
    known = episode(uid="u", seed=1, round=2, policy_version=3, source="s", success=True)
    assert read_facts(facts(known)) == facts(known)
    for damaged in ({}, [], facts(known) | {"seed": "1"}, facts(known) | {"round": True}):
        with pytest.raises(BadEpisodeError, match="damaged"):
            read_facts(damaged)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("bad\nchecksum"), "bad checksum"),
        (KeyError("pose"), "KeyError: 'pose'"),
        (TypeError("no"), "TypeError: no"),
        (MemoryError(), "MemoryError"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_anything_that_foreign_data_raises_is_one_line(error: Exception, text: str) -> None:
    def broken() -> Episode:
        raise error

    def torn() -> Iterator[tuple[str, Any]]:
        yield "e0", episode
        raise error

    about: dict[str, Any] = {"spec": SPEC, "file": "f", "stem": "s", "report": lambda _: None}
    with pytest.raises(RunError, match=f"^f: episode e0: can't be read: {text}; fix") as caught:
        list(sift([("e0", broken)], skip_bad=False, **about))
    assert caught.value.__cause__ is error  # for --debug
    assert list(sift([("e0", broken)], skip_bad=True, **about)) == []
    with pytest.raises(RunError, match=f"^f: what comes after episode e0 can't be read: {text}; restore"):
        list(sift(torn(), skip_bad=True, **about))
    with pytest.raises(InputError, match=f"^f: can't be read as zarr: {text}; check"), opening("zarr", "f"):
        raise error


def test_our_own_errors_stay_as_they_are() -> None:
    def broken() -> Episode:
        raise InputError("a library is missing")

    with pytest.raises(InputError, match=r"^a library is missing$"):
        list(sift([("e0", broken)], spec=SPEC, file="f", stem="s", skip_bad=True, report=pytest.fail))
    for told in ("data.bin: is no zarr", "is no zarr"):
        with pytest.raises(InputError, match=r"^data\.bin: is no zarr$"), opening("zarr", "data.bin"):
            raise InputError(told)


def test_uids_are_of_the_data_not_of_the_stores_spaces() -> None:
    def uid(convert: Any) -> str:
        found = sift([("0", episode)], spec=SPEC, file="f", stem="s", skip_bad=False, report=pytest.fail, convert=convert)
        return next(found).uid

    assert uid(lambda _, e: e) == uid(lambda _, e: replace(e, rewards=np.zeros(3)))


def test_flags_are_0_or_1_and_nothing_else() -> None:
    """NaN is true in numpy: it must not become a success or an end."""
    assert flags(np.array([[0.0], [1.0]]), "x").tolist() == [False, True]
    assert last_flag(np.array([False, True]), "x")
    for values, what, step in (
        ([0.0, np.nan], "x is nan, neither 0 nor 1", 1),
        ([2, 0], "x is 2, neither", 0),
        ([[1, 0], [0, 0]], r"x isn't one flag a step but \[2\]", None),
    ):
        with pytest.raises(BadEpisodeError, match=what) as caught:
            last_flag(np.array(values), "x")
        assert caught.value.step == step
    with pytest.raises(BadEpisodeError, match="x before its last frame"):
        last_flag(np.array([True, True]), "x", "frame")
    cases = ([np.nan, 1], True), ([np.nan, 0], False), ([np.nan, np.nan], None), ([1, 0], True), ([], None)
    for given, said in cases:
        assert success_in(np.array(given), "x") is said
    assert success_in(np.array([1, 0]), "next.is_success") is False  # its last step counts


def test_keys_of_actions_are_joined_in_order_without_rounding() -> None:
    parts = {"b": np.float32([[0.1, 2], [3, 4]]), "a": np.array([1, 0]), "flag": np.array([[[True]], [[False]]])}
    joined = join(parts)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, np.float32([[0.1, 2, 1, 1], [3, 4, 0, 0]]))
    assert join({"a": np.array([1, 0]), "b": np.array([2, 3], np.uint8)}).tolist() == [[1, 2], [0, 3]]
    assert join({"a": parts["a"]}) is parts["a"]
    with pytest.raises(BadEpisodeError, match="a holds values that float32 can't") as caught:
        join(parts | {"a": np.array([0, 2**24 + 1])})
    assert caught.value.step == 1
    with pytest.raises(BadEpisodeError, match="different numbers of steps: 2 in b, 3 in a"):
        join({"b": parts["b"], "a": np.arange(3)})
    assert said_of_joined({"b": (2,), "a": ()}).endswith("b (2), a (1)")
