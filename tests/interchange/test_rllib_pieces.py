from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distil.interchange.episodes import BadEpisodeError, Finding
from distil.interchange.rllib_pieces import Joined, Piece, join


def piece(first: int, num: int, *, over: bool = False, start: bool = False) -> Piece:
    at = np.arange(first, first + num + 1)
    return Piece(
        observations={"obs": at[:, None] * 1.0},
        actions=at[:-1] % 3,
        rewards=np.ones(num),
        terminated=over,
        truncated=False,
        start=first if start else None,
        infos=tuple({"at": int(step)} for step in at[:-1]),
    )


@pytest.mark.parametrize("start", [False, True])
def test_new_steps_are_taken_and_known_ones_are_not(start: bool) -> None:
    joined = Joined()
    assert not joined.add(piece(0, 3, start=start))
    assert joined.add(piece(0, 2, start=start))
    assert not joined.add(piece(1, 4, start=start))
    assert not joined.add(piece(5, 1, over=True, start=start))
    assert joined.over
    np.testing.assert_array_equal(joined.piece().observations["obs"][:, 0], np.arange(7))
    np.testing.assert_array_equal(joined.piece().actions, np.arange(6) % 3)
    assert [info["at"] for info in joined.piece().infos] == [*range(6)]


@pytest.mark.parametrize("start", [False, True])
def test_a_gap_is_said(start: bool) -> None:
    joined = Joined()
    joined.add(piece(0, 3, start=start))
    with pytest.raises(BadEpisodeError, match="doesn't follow") as error:
        joined.add(piece(4, 1, start=start))
    assert error.value.step == 3


def test_a_bad_piece_spoils_its_episode_only() -> None:
    def bad() -> Piece:
        raise BadEpisodeError("is bad", step=1)

    said: list[Finding] = []
    pieces = [("a", lambda: piece(0, 2)), ("b", bad), ("a", lambda: piece(2, 1, over=True)), ("b", lambda: piece(0, 1))]
    found = dict(join(((name, Path("f"), load) for name, load in pieces), "f", said.append))
    assert found["a"].piece().terminated
    with pytest.raises(BadEpisodeError, match="is bad"):
        found["b"].piece()
    assert said == []
