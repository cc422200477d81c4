import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.fit import check_fit
from distil.experts.sb3.layout import read_layout
from distil.experts.sb3.vecnormalize import Statistics
from distil.spaces import action_spec, observation_spec

RNG = np.random.default_rng(0)
VECTOR = spaces.Box(-1, 1, (3,), np.float32)
BOX = spaces.Box(-1, 1, (2,), np.float32)


class Spaces:
    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action


@pytest.fixture
def fit(made, tmp_path):
    def fit(observation, action, trained=(VECTOR, BOX), num_inputs=3, mean=None, squashed=False, time=False):
        state = made.linear(RNG, num_inputs, 2, "action_net.0")
        data = made.settings(Spaces(*trained), policy_kwargs={"squash_output": squashed})
        archive = read_archive(made.write_zip(tmp_path / "m.zip", data, state))
        statistics = None if mean is None else Statistics(mean={"obs": mean}, scale={"obs": mean + 1}, clip=10.0)
        has = (observation_spec(observation), action_spec(action))
        check_fit("e", archive, read_layout(archive), has, statistics, time=time)

    return fit


def test_what_fits(fit):
    fit(VECTOR, BOX)
    fit(VECTOR, BOX, mean=np.zeros(3), squashed=True)
    fit(VECTOR, spaces.Discrete(2), trained=(VECTOR, spaces.Discrete(2)))
    fit(VECTOR, BOX, num_inputs=4, mean=np.zeros(4), time=True)


@pytest.mark.parametrize(
    ("observation", "action", "trained"),
    [
        (spaces.Box(-1, 1, (8,), np.float32), BOX, (VECTOR, BOX)),
        (VECTOR, spaces.Box(-1, 1, (4,), np.float32), (VECTOR, BOX)),
        (VECTOR, spaces.Discrete(2), (VECTOR, BOX)),  # as many outputs
        (VECTOR, BOX, (VECTOR, spaces.Discrete(2))),
        (spaces.Discrete(3), BOX, (VECTOR, BOX)),  # as many inputs
    ],
)
def test_spaces_that_do_not_fit_are_both_named(fit, observation, action, trained):
    theirs, ours = action_spec(trained[1]).describe().split(" ")[0], observation_spec(observation).describe()
    with pytest.raises(InputError, match=r"^expert e: made for observations Box\(3\)") as caught:
        fit(observation, action, trained)
    assert f"actions {theirs} (2 network outputs), the environment has observations {ours}" in str(caught.value)
    assert action_spec(action).describe() in str(caught.value)


def test_a_missing_time_feature_is_suggested(fit):
    with pytest.raises(InputError, match=r"or set expert.time_feature=on"):
        fit(VECTOR, BOX, num_inputs=4)
    with pytest.raises(InputError, match=r"a time feature wants one Box vector, the environment has Discrete\(3\)"):
        fit(spaces.Discrete(3), BOX, num_inputs=4, time=True)


def test_statistics_images_and_bounds(fit):
    with pytest.raises(InputError, match=r"its statistics are for obs of shape \(5,\), the environment has Box\(3\) float32"):
        fit(VECTOR, BOX, mean=np.zeros(5))
    with pytest.raises(InputError, match=r"images \(Box\(8, 8, 3\) uint8\) aren't supported"):
        fit(spaces.Box(0, 255, (8, 8, 3), np.uint8), BOX)
    with pytest.raises(InputError, match=r"rescales to the action's bounds, Box\(2\) float32 has none"):
        fit(VECTOR, spaces.Box(-np.inf, np.inf, (2,), np.float32), squashed=True)
