import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest

from distil.types import Batch, Episode, Progress, silent, within


def episode(rewards: np.ndarray) -> Episode:
    num = len(rewards)
    flags = np.ones(num, np.uint8)
    return Episode(
        observations={"obs": np.zeros((num + 1, 2))},
        actions=np.zeros((num, 1)),
        rewards=rewards,
        terminated=False,
        truncated=True,
        expert_actions=np.zeros((num, 1)),
        labelled=flags,
        acted_by_expert=flags,
    )


def test_an_episode_counts_its_actions_and_not_its_observations() -> None:
    made = episode(np.ones(3))
    assert made.length == 3
    assert len(made.observations["obs"]) == 4


def test_a_return_is_summed_in_double_precision() -> None:
    rewards = np.array([2.0**24, 1.0, 1.0], np.float32)  # float32 can't hold 2^24 + 1
    assert episode(rewards).total_reward == 2**24 + 2


def test_an_episode_says_nothing_that_nobody_told_it() -> None:
    """Nobody learned acted, and the environment doesn't know success: neither may read as 0."""
    made = episode(np.ones(1))
    assert made.policy_version == -1
    assert made.success is None
    assert made.infos is None


def test_data_between_layers_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        episode(np.ones(1)).terminated = True  # type: ignore[misc]


def test_a_batch_is_as_long_as_its_windows() -> None:
    batch = Batch(observations={"obs": np.zeros((4, 2, 3))}, actions=np.zeros((4, 5, 1)), is_pad=np.zeros((4, 5), np.bool_))
    assert len(batch) == 4


def test_silence_takes_what_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = silent
    progress("update", 1, 2, loss=0.5)
    assert capsys.readouterr() == ("", "")


def test_places_reach_a_console_and_nothing_else() -> None:
    entered: list[tuple[str, ...]] = []

    class Listening:
        def __call__(self, what: str, done: int, total: int, /, **figures: float) -> None: ...

        def within(self, *places: str):
            entered.append(places)
            return nullcontext()

    with within(Listening(), "a", "", "b"), within(silent, "c"):
        pass
    assert entered == [("a", "b")]
