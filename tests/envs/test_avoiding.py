import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from distil.envs.avoiding import FINISH_Y, NUM_WAYS, RADIUS, ROWS, Avoiding, gaps_of, way_of


def go(env: gym.Env, corners: list[tuple[float, float]]) -> tuple[bool, list[dict]]:
    """Walk from corner to corner; return whether the episode was terminated, and the infos of its steps."""
    place, _ = env.reset(seed=0)
    infos: list[dict] = []
    for corner in corners:
        while np.abs(corner - place).max() > 1e-4:
            place, _, terminated, truncated, info = env.step((corner - place) / max(np.abs(corner - place).max(), 0.01))
            infos.append(info)
            if terminated or truncated:
                return terminated, infos
    return False, infos


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_keeps_gymnasiums_contract() -> None:
    check_env(Avoiding(), skip_render_check=True)


def test_ways_are_numbered_by_their_gaps() -> None:
    ways = [gaps_of(way) for way in range(NUM_WAYS)]
    assert [way_of(gaps) for gaps in ways] == list(range(NUM_WAYS))
    assert {tuple(gaps) for gaps in ways} == {(a, b, c) for a in range(2) for b in range(3) for c in range(4)}
    assert way_of([1, 2]) == -1


def test_a_way_through_ends_in_success_and_says_which() -> None:
    ended, infos = go(Avoiding(), [(0.575, -0.14), (0.575, -0.06), (0.65, 0.04), (0.65, 0.12), (0.575, 0.22), (0.575, 0.4)])
    assert ended
    assert infos[-1] == {"way": way_of([1, 2, 2]), "is_success": True}
    assert {info["way"] for info in infos} == {-1, way_of([1, 2, 2])}
    assert not any(info["is_success"] for info in infos[:-1])


@pytest.mark.parametrize("axis", [(x, y) for y, row in ROWS for x in row])
def test_a_cylinder_ends_the_episode_without_success(axis: tuple[float, float]) -> None:
    env = Avoiding()
    env.reset(seed=0)
    env._place = np.array(axis) - (0, RADIUS + 0.004)
    _, reward, terminated, _, info = env.step(np.array([0.0, 1.0], np.float32))
    assert (terminated, reward, info["is_success"]) == (True, 0.0, False)


def test_the_middle_way_of_averaging_crashes() -> None:
    """Half of the demonstrations pass the first cylinder on the left, half on the right."""
    ended, infos = go(Avoiding(), [(0.5, -0.2), (0.5, FINISH_Y)])
    assert ended
    assert infos[-1] == {"way": -1, "is_success": False}


def test_an_episode_has_a_limit_and_a_start_of_its_own() -> None:
    env = Avoiding()
    starts = [env.reset(seed=seed)[0].tolist() for seed in (0, 1, 0)]
    assert starts[0] == starts[2] != starts[1]
    steps = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(200)]
    assert steps[-1] == (False, True)
    assert set(steps[:-1]) == {(False, False)}
