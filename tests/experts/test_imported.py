import sys
from types import ModuleType

import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.errors import InputError, RunError
from distil.experts.imported import ImportExpertConfig
from distil.spaces import action_spec, observation_spec
from distil.types import Labels

TREE = spaces.Dict(image=spaces.Box(0, 255, (2, 2), np.uint8), state=spaces.Tuple([spaces.Box(-1, 1, (3,), np.float32)]))
SPEC = EnvSpec(
    name="x",
    observation=observation_spec(TREE),
    action=action_spec(spaces.Box(-1, 1, (1,), np.float32)),
    max_episode_steps=None,
    reward_threshold=None,
)
OBS = {"obs/image": np.zeros((4, 2, 2), np.uint8), "obs/state/0": np.full((4, 3), 0.25, np.float32)}


def by_structure(observations, gain=1.0):
    assert observations["image"].shape == (4, 2, 2)
    return observations["state"][0][:, :1] * gain


class Remembers:
    stateful = needs_env = True

    def __init__(self, bias):
        self.bias, self.begun = bias, []

    def begin(self, slot, seed):
        self.begun.append((slot, seed))

    def act(self, observations, *, envs):
        return Labels(actions=np.full((4, 1), self.bias + len(envs)), mask=np.array([True, True, False, True]))


class Lost:
    def __init__(self):
        raise FileNotFoundError("a\nb")


@pytest.fixture
def build(monkeypatch):
    module = ModuleType("my_experts")
    vars(module).update(
        f=by_structure, Lost=Lost, Remembers=Remembers, number=3, ragged=lambda _: [[1], [1, 2]], none=lambda _: None
    )
    monkeypatch.setitem(sys.modules, "my_experts", module)
    return lambda name, **kwargs: ImportExpertConfig(target=f"my_experts:{name}", kwargs=kwargs).build(
        GymEnvConfig(id="x"), SPEC
    )


def test_a_function_gets_the_environments_own_structure(build):
    np.testing.assert_allclose(build("f").act(OBS).actions, np.full((4, 1), 0.25))
    np.testing.assert_allclose(build("f", gain=2.0).act(OBS).actions, np.full((4, 1), 0.5))


def test_a_class_is_constructed_and_begin_is_called(build):
    expert = build("Remembers", bias=-3.5)
    assert expert.stateful
    assert expert.needs_env
    expert.begin(2, 99)
    labels = expert.act(OBS, envs=[None] * 4)
    np.testing.assert_allclose(labels.actions, np.full((4, 1), 0.5))
    np.testing.assert_array_equal(labels.mask, [1, 1, 0, 1])
    with pytest.raises(RunError, match="my_experts:Remembers: needs_env"):
        expert.act(OBS)


def test_faults_name_the_target(build):
    with pytest.raises(
        InputError, match=r"expert my_experts:Remembers: .*unexpected keyword argument 'bia'.*fix expert.kwargs"
    ):
        build("Remembers", bia=1)
    with pytest.raises(InputError, match=r"expert my_experts:f: .*unexpected keyword argument 'gian'.*fix expert.kwargs"):
        build("f", gian=2.0)
    with pytest.raises(InputError, match=r"expert my_experts:Lost: Lost\(...\) raises FileNotFoundError: a b; fix"):
        build("Lost")
    with pytest.raises(InputError, match="my_experts:number: neither callable nor with a method act"):
        build("number")
    with pytest.raises(InputError, match="has no 'Rememberz'; did you mean Remembers"):
        build("Rememberz")
    with pytest.raises(RunError, match="my_experts:ragged: returned rows of different shapes"):
        build("ragged").act(OBS)
    with pytest.raises(RunError, match=r"my_experts:none: returned None, expected one array of actions; fix the expert"):
        build("none").act(OBS)


def test_kwargs_of_an_object_are_refused(build):
    with pytest.raises(InputError, match="name its class instead"):
        build("number", x=1)


@pytest.mark.parametrize("state", [None, (), np.zeros((4, 8)), np.zeros((4, 1)), {}])
def test_the_pair_that_predict_returns_is_named(build, state):
    vars(sys.modules["my_experts"])["pair"] = lambda _: (np.zeros((4, 1)), state)
    with pytest.raises(
        RunError, match=r"expert my_experts:pair: returned a pair, as predict does: .actions, state.* predict.*0"
    ):
        build("pair").act(OBS)


def test_a_tuple_of_rows_is_not_taken_for_a_pair(build):
    vars(sys.modules["my_experts"])["rows"] = lambda _: (np.zeros(1), np.ones(1))
    two = {name: values[:2] for name, values in OBS.items()}
    assert build("rows").act(two).actions.tolist() == [[0], [1]]


@pytest.mark.parametrize(("answer", "came"), [("up", "a str"), ({"action": 1}, "a dict"), ([[1], [1, 2]], "rows of different")])
def test_a_result_that_is_not_an_array_is_named(build, answer, came):
    vars(sys.modules["my_experts"])["wrong"] = lambda _: answer
    with pytest.raises(RunError, match=f"expert my_experts:wrong: returned {came}.*, expected one array of actions"):
        build("wrong").act(OBS)
