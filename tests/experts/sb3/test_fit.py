import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.inputs import Statistics
from distil.experts.sb3.architecture import read_architecture
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.fit import fit as check
from distil.spaces import action_spec, observation_spec

RNG = np.random.default_rng(0)
VECTOR = spaces.Box(-1, 1, (3,), np.float32)
UNBOUNDED = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict(a=VECTOR)
LONGER = spaces.Box(-1, 1, (4,), np.float32)
BOX = spaces.Box(-1, 1, (2,), np.float32)


class Spaces:
    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action


@pytest.fixture
def fit(made, tmp_path):
    def fit(observation, action, trained=(VECTOR, BOX), num_inputs=3, mean=None, squashed=False, time=False):
        state = made.linear(RNG, num_inputs, 2, "action_net.0", bias=False)
        data = made.settings(Spaces(*trained), "linear ars", policy_kwargs={"squash_output": squashed})
        archive = read_archive(made.write_zip(tmp_path / "m.zip", data, state))
        mean = mean if isinstance(mean, dict) or mean is None else {"obs": mean}
        scale = {leaf: value + 1 for leaf, value in (mean or {}).items()}
        statistics = None if mean is None else Statistics(mean=mean, scale=scale, clip=10.0)
        has = (observation_spec(observation), action_spec(action))
        return [leaf.name for leaf in check("e", archive, read_architecture(archive), has, statistics, time=time)]

    return fit


def test_matching_spaces_are_accepted(fit):
    fit(VECTOR, BOX)
    fit(VECTOR, BOX, mean=np.zeros(3), squashed=True)
    fit(VECTOR, spaces.Discrete(2), trained=(VECTOR, spaces.Discrete(2)))
    fit(VECTOR, BOX, trained=(LONGER, BOX), num_inputs=4, mean=np.zeros(4), time=True)
    fit(spaces.Box(-5, 5, (3,), np.float64), BOX)  # bounds and width of observations may differ


def test_the_order_is_the_one_used_in_training(fit):
    one, two = spaces.Box(-1, 1, (1,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    trained, has = spaces.Dict([("z", one), ("a", two)]), spaces.Dict([("a", two), ("z", one)])
    assert fit(has, BOX, (trained, BOX)) == ["obs/z", "obs/a"]
    with pytest.raises(InputError, match=r"made for observations obs/z: Box\(1\).*the environment has observations obs/y"):
        fit(spaces.Dict(y=one, a=two), BOX, (trained, BOX))
    with pytest.raises(InputError, match=r"the environment has observations obs/a"):
        fit(has, BOX)  # as many inputs, but one vector


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
    theirs, ours = action_spec(trained[1]).describe(), observation_spec(observation).describe()
    with pytest.raises(InputError, match=r"^expert e: made for observations Box\(3\)") as caught:
        fit(observation, action, trained)
    assert f"actions {theirs} (2 network outputs); the environment has observations {ours}" in str(caught.value)
    assert action_spec(action).describe() in str(caught.value)


def test_a_missing_time_feature_is_suggested(fit):
    with pytest.raises(InputError, match=r"or set expert.time_feature=on"):
        fit(VECTOR, BOX, trained=(LONGER, BOX), num_inputs=4)
    with pytest.raises(InputError, match=r"a time feature needs a Box vector; the environment has Discrete\(3\)"):
        fit(spaces.Discrete(3), BOX, num_inputs=4, time=True)


def test_statistics_images_and_bounds(fit):
    with pytest.raises(
        InputError, match=r"its statistics are for obs of shape \(5,\), but its network takes obs of shape \(3,\)"
    ):
        fit(VECTOR, BOX, mean=np.zeros(5))
    with pytest.raises(InputError, match=r"images \(Box\(8, 8, 3\) uint8\) aren't supported"):
        fit(spaces.Box(0, 255, (8, 8, 3), np.uint8), BOX)
    with pytest.raises(InputError, match=r"rescales to the action bounds, but the environment has none"):
        fit(VECTOR, UNBOUNDED, trained=(VECTOR, UNBOUNDED), squashed=True)
    with pytest.raises(InputError, match=r"its statistics are for obs/b of shape \(1,\)"):
        fit(DICT, BOX, trained=(DICT, BOX), mean={"obs/b": np.zeros(1)})
    with pytest.raises(InputError, match=r"its statistics are for obs of shape \(\), but its network takes"):  # of a choice
        fit(spaces.Discrete(3), BOX, trained=(spaces.Discrete(3), BOX), mean=np.zeros(()))


def test_actions_in_other_units(fit):
    with pytest.raises(
        InputError, match=r"trained with actions from -2 to 2; those of the environment are from -1 to 1; add or"
    ):
        fit(VECTOR, BOX, trained=(VECTOR, spaces.Box(-2, 2, (2,), np.float32)))


def test_choices_that_do_not_start_at_zero(fit):
    for observation, action in ((VECTOR, spaces.Discrete(2, start=1)), (spaces.Discrete(3, start=1), spaces.Discrete(2))):
        for trained in ((observation, action), (VECTOR if observation is VECTOR else spaces.Discrete(3), spaces.Discrete(2))):
            with pytest.raises(InputError, match=r"counts choices from 0, not from the space's start; wrap the model"):
                fit(observation, action, trained=trained)


def test_a_network_for_other_spaces_than_its_settings(fit):
    with pytest.raises(InputError, match=r"its network does not match the spaces in its settings"):
        fit(VECTOR, BOX, num_inputs=5)
