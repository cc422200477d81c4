from collections.abc import Iterator

import numpy as np
import pytest
import torch
from stepbed import PLAIN, RATE, policy

from distil.errors import InputError
from distil.objectives.base import ObjectiveState
from distil.objectives.interaction import Interaction
from distil.objectives.judge import Judge
from distil.objectives.ppo import Ppo
from distil.objectives.prepared import PreparedBatch, PreparedSource
from distil.objectives.ranks import ALONE
from distil.objectives.rl_config import PpoConfig
from distil.objectives.tensors import to_torch
from distil.objectives.transitions import AGENT
from distil.rewards.fixed import EnvironmentReward
from distil.store.order import SampleSource
from distil.store.schema import StoreSpec
from distil.store.windows import TransitionBatch

POLICY = policy()
SPEC = StoreSpec(observation=POLICY.observation, action=POLICY.action, env={})


def rows(num: int = 20) -> TransitionBatch:
    rng = np.random.default_rng(0)
    return TransitionBatch(
        observations={"obs": rng.normal(size=(num, 1, 3)).astype("f4")},
        actions=np.zeros((num, 1, 2), "f4"),
        is_pad=np.zeros((num, 1), bool),
        weights=None,
        executed=rng.uniform(-0.9, 0.9, (num, 1, 2)).astype("f4"),
        rewards=np.arange(num, dtype="f4")[:, None],
        num_steps=np.ones(num, np.int64),
        next_observations={"obs": rng.normal(size=(num, 1, 3)).astype("f4")},
        terminated=np.arange(num) % 10 == 9,
        truncated=np.zeros(num, bool),
    )


def source(num: int = 20) -> PreparedSource:
    return PreparedSource(rows(num), {"advantage": np.arange(num, dtype="f4")}, SPEC)


def test_minibatches_are_shuffled_and_an_epoch_has_each_row_once() -> None:
    stream = source().stream(3)
    epochs = [np.concatenate([stream.take(20 * epoch + at, 5).rewards[:, 0] for at in (0, 5, 10, 15)]) for epoch in (0, 1)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert not np.array_equal(epochs[0], np.arange(20))
    assert not np.array_equal(*epochs)


def test_fields_stay_with_their_rows() -> None:
    batch = source().stream(0).take(17, 6)  # over the end of an epoch
    assert isinstance(batch, PreparedBatch)
    np.testing.assert_array_equal(batch.extras["advantage"], batch.rewards[:, 0])
    np.testing.assert_array_equal(batch.observations["obs"], rows().observations["obs"][batch.rewards[:, 0].astype(int)])


def test_any_position_can_be_read_first() -> None:
    """CORRECTNESS 11: what a resumed update reads doesn't depend on what was read before."""
    first, second = source().stream(1), source().stream(1)
    first.take(0, 20)
    np.testing.assert_array_equal(first.take(27, 9).rewards, second.take(27, 9).rewards)
    first.close()
    np.testing.assert_array_equal(first.take(27, 9).rewards, second.take(27, 9).rewards)


def test_a_scan_is_in_order() -> None:
    found = np.concatenate([batch.rewards[:, 0] for batch in source().scan(7)])
    np.testing.assert_array_equal(found, np.arange(20))
    assert (source().num_samples, source().spec) == (20, SPEC)


def test_statistics_are_not_fitted_on_it() -> None:
    with pytest.raises(InputError, match="statistics"):
        source().transitions(["obs"], 5)


class Stored(SampleSource):
    """The newest round's steps."""

    tier, num_samples, spec = 1, 20, SPEC

    def __init__(self, shift: float = 0.0) -> None:
        self._shift = np.float32(shift)

    def transitions(self, names, num_rows):
        yield {"obs": rows().observations["obs"][:, 0] + self._shift}

    def stream(self, seed):
        raise AssertionError("minibatches are of prepared rows")

    def scan(self, batch_size) -> Iterator[TransitionBatch]:
        yield rows()


def objective(seed: int = 0) -> Interaction:
    of, config = policy(seed=seed), PpoConfig(hidden=(8,))
    step = Ppo(config, of, PLAIN, ALONE, torch.Generator().manual_seed(seed))
    judge = Judge(of, EnvironmentReward(), PLAIN, ALONE, rate=0.0)
    return Interaction(of, step, judge, PLAIN.model_copy(update={"learning_rate": RATE}), ALONE)


def fields(of: SampleSource) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in next(of.scan(20)).extras.items()}


def test_fields_are_computed_once_an_update_and_survive_a_resume() -> None:
    ours = objective()
    ours.begin(4)
    prepared = ours.prepare({AGENT: Stored()})[AGENT]
    before, stream = fields(prepared), prepared.stream(0)
    for step in range(2):
        ours.step({AGENT: to_torch(stream.take(10 * step, 10), torch.device("cpu"))})
    state = ours.state_dict()
    theirs = objective(seed=1)
    theirs.load_state_dict(ObjectiveState(tensors={k: v.clone() for k, v in state.tensors.items()}, counters=state.counters))
    after = fields(theirs.prepare({AGENT: Stored()})[AGENT])
    assert before.keys() == after.keys() == {"log_prob", "advantage", "return", "reward"}
    assert all(np.array_equal(value, after[name]) for name, value in before.items())
    ours.begin(4)  # the next update has its own
    anew = fields(ours.prepare({AGENT: Stored()})[AGENT])
    assert not np.array_equal(before["log_prob"], anew["log_prob"])


def test_a_finished_update_keeps_none_of_them() -> None:
    ours = objective()
    ours.begin(1)
    prepared = ours.prepare({AGENT: Stored()})[AGENT]
    assert any(name.startswith("prepared.") for name in ours.state_dict().tensors)
    ours.step({AGENT: to_torch(prepared.stream(0).take(0, 10), torch.device("cpu"))})
    assert not any(name.startswith("prepared.") for name in ours.state_dict().tensors)


def test_statistics_follow_a_learner_that_has_left_their_range() -> None:
    """Each update has as many new steps as the last one, so they never double."""
    ours = objective()
    found = []
    for shift in (0.0, 0.5, 100.0):
        ours.fit_statistics({AGENT: Stored(shift)})
        found.append(float(ours.policy.encoder.features.mean.mean()))
    assert found[0] == found[1]
    assert found[2] == pytest.approx(found[0] + 100, abs=1e-3)
