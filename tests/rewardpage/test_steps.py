"""Steps of episodes, and features of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rewardpagebed import run_of

from distil import api
from distil.errors import InputError
from distil.rewardpage.steps import features, joined, seen
from distil.rundata.reading import demonstrations_of, newest_of
from distil.rundir import RunDir
from distil.spaces import Leaf, SpaceSpec


def test_steps_are_those_of_the_episodes_in_order() -> None:
    run = api.open_run(run_of("pendulum"))
    function, (part,) = run.reward(), demonstrations_of(run.config, RunDir(run.path))
    steps = seen(part, "x", function)
    episodes = [part.episode(i) for i in range(part.num_episodes)]
    np.testing.assert_array_equal(steps.true, np.concatenate([episode.rewards for episode in episodes]))
    np.testing.assert_array_equal(steps.after["obs"], np.concatenate([e.observations["obs"][1:] for e in episodes]))
    learned = np.concatenate([function.of_episode(episode) for episode in episodes])
    np.testing.assert_allclose(steps.learned, learned, rtol=1e-5, atol=1e-5)
    assert (steps.num_episodes, len(steps)) == (2, 400)
    both = joined([steps, steps])
    assert both.episode.tolist() == sorted(both.episode)
    assert (both.num_episodes, len(both)) == (4, 800)


def test_the_last_or_the_first_episodes_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    run = api.open_run(run_of("pendulum"))
    own = newest_of(RunDir(run.path))
    monkeypatch.setattr("distil.rewardpage.steps._MOST_STEPS", 200)
    order = np.argsort(own.episodes.round, kind="stable")
    for last, index in ((False, order[0]), (True, order[-1])):
        np.testing.assert_array_equal(seen(own, "x", run.reward(), last=last).true, own.episode(int(index)).rewards)


def test_episodes_without_what_the_reward_reads_are_refused() -> None:
    run = api.open_run(run_of("pendulum"))
    (part,) = demonstrations_of(run.config, RunDir(run.path))
    leaf = replace(part.spec.observation.leaves[0], name="other")
    other = replace(part, spec=replace(part.spec, observation=SpaceSpec(tree="other", leaves=(leaf,))))
    with pytest.raises(InputError, match="its episodes have no obs, which the reward reads"):
        seen(other, "x", run.reward())


def test_features_are_standardised_and_choices_one_hot() -> None:
    leaves = [
        Leaf(name="a", kind="box", shape=(2,), dtype="float32", low=(-1.0,), high=(1.0,)),
        Leaf(name="b", kind="discrete", shape=(), dtype="int64", nvec=(3,), start=1),
        Leaf(name="c", kind="box", shape=(8, 8), dtype="uint8", low=(0.0,), high=(255.0,)),
    ]
    columns = {"a": np.array([[0.0, 2.0], [4.0, 2.0]]), "b": np.array([1, 3]), "c": np.zeros((2, 8, 8), np.uint8)}
    one, other = features(leaves, columns, columns)
    np.testing.assert_allclose(one, [[-1, 0, 1, 0, -1], [1, 0, -1, 0, 1]])
    np.testing.assert_array_equal(one, other)
    assert features(leaves[2:], columns, columns)[0].shape == (2, 0)
