import sys

import gymnasium as gym
import pytest

from distil.config import Config, validate
from distil.envs import EnvConfig, GymEnvConfig, ImportEnvConfig, WrapperConfig, content_of, describe, make
from distil.envs.config import make_vector
from distil.errors import InputError


class Recipe(Config):
    env: EnvConfig


def test_kind_may_be_omitted():
    assert validate(Recipe, {"env": {"id": "CartPole-v1"}}).env == GymEnvConfig(id="CartPole-v1")
    assert validate(Recipe, {"env": {"kind": "import", "target": "a:b"}}).env == ImportEnvConfig(target="a:b")


def test_configuration_round_trips():
    recipe = validate(Recipe, {"env": {"id": "X", "kwargs": {"a": [1]}, "wrappers": [{"target": "m:W", "kwargs": {"b": 2}}]}})
    assert recipe.env.wrappers == (WrapperConfig(target="m:W", kwargs={"b": 2}),)
    assert validate(Recipe, recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"idd": "CartPole-v1"}, "unknown key env.idd; did you mean id?"),
        ({"kind": "gim", "id": "X"}, "did you mean gym?"),
        ({"id": "X", "max_episode_steps": 0}, "env.max_episode_steps: should be greater than 0"),
        ({"id": "X", "wrappers": [{"target": "a:b", "kwarg": {}}]}, "did you mean kwargs?"),
        ({"kind": "import"}, "env.target is missing"),
    ],
)
def test_configuration_errors_are_readable(data, words):
    with pytest.raises(InputError) as error:
        validate(Recipe, {"env": data})
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GymEnvConfig(id="CartPol-v1"), "CartPol-v1 isn't registered; did you mean CartPole-v1?"),
        (GymEnvConfig(id="CartPole-v9"), "did you mean CartPole-v1?"),
        (GymEnvConfig(id="Nowhere/Thing-v1"), "id of another package as package:id"),
        (GymEnvConfig(id="no_such_package:Thing-v1"), "No module named 'no_such_package'"),
        (GymEnvConfig(id="CartPole-v1", kwargs={"poles": 2}), "unexpected keyword argument 'poles'"),
        (GymEnvConfig(id="CartPole-v1", wrappers=(WrapperConfig(target="gymnasium.wrappers:Nope"),)), "Nope"),
        (ImportEnvConfig(target="testbed:Toyy"), "did you mean Toy?"),
        (ImportEnvConfig(target="no_such:thing"), "no module named 'no_such'"),
        (ImportEnvConfig(target="apibed:NotAnEnv"), "not a gymnasium.Env: derive its class from gymnasium.Env"),
        (ImportEnvConfig(target="apibed:OldGym"), "of the old package gym: wrap it in shimmy.GymV26CompatibilityV0"),
        (ImportEnvConfig(target="testbed:vector", kwargs={"num_envs": 2}), "not a gymnasium.Env; set env.vectorised=true"),
        (ImportEnvConfig(target="testbed:Toy", vectorised=True), "unexpected keyword argument 'num_envs'"),
        (ImportEnvConfig(target="apibed:NotAnEnv", kwargs={"a": 1}), "can't be created"),
        (ImportEnvConfig(target="testbed:Unsupported"), "testbed:Unsupported: obs/text: space Text"),
        (ImportEnvConfig(target="testbed:vector", vectorised=True, max_episode_steps=3), "max_episode_steps can't limit"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of date")
def test_a_bad_environment_is_one_line_with_its_fix(config, words):
    with pytest.raises(InputError) as error:
        describe(config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_extra_says_how_to_install(monkeypatch):
    def missing(*args, **kwargs):
        raise gym.error.DependencyNotInstalled("MuJoCo is not installed, run `pip install mujoco`: No module named 'mujoco'")

    monkeypatch.setattr(gym, "make", missing)
    with pytest.raises(InputError, match=r"pip install 'distil\[mujoco\]'"):
        make(GymEnvConfig(id="HalfCheetah-v5"))


def test_spec_of_a_registered_environment():
    spec = describe(GymEnvConfig(id="CartPole-v1"))
    assert (spec.name, spec.max_episode_steps, spec.reward_threshold) == ("CartPole-v1", 500, 475.0)
    assert spec.observation.describe() == "Box(4) float32"
    assert spec.action.describe() == "Discrete(2)"
    assert describe(GymEnvConfig(id="CartPole-v1", max_episode_steps=7)).max_episode_steps == 7


def test_spec_of_imported_environments():
    toy = describe(ImportEnvConfig(target="testbed:Toy"))
    assert toy.action.leaf.start == 1
    assert toy.max_episode_steps is None
    assert describe(ImportEnvConfig(target="testbed:vector", vectorised=True)).observation == toy.observation
    nested = describe(ImportEnvConfig(target="testbed:Nested"))
    assert [leaf.name for leaf in nested.observation.leaves] == ["obs/image", "obs/state/0", "obs/state/1", "obs/flags"]


def test_wrappers_and_limits_apply():
    wrappers = (WrapperConfig(target="gymnasium.wrappers:TimeAwareObservation"),)
    spec = describe(GymEnvConfig(id="CartPole-v1", wrappers=wrappers))
    assert spec.observation.describe() == "Box(5) float64"
    env = make(ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [99]}, max_episode_steps=2))
    env.reset(seed=0)
    assert env.step(1)[2:4] == (False, False)
    assert env.step(1)[2:4] == (False, True)


def test_vectorised_targets_are_vector_environments_only():
    config = ImportEnvConfig(target="testbed:vector", vectorised=True)
    with pytest.raises(InputError, match="single environment"):
        make(config)
    env = make_vector(config, 3)
    assert env.num_envs == 3
    env.close()


def test_render_mode_reaches_the_environment():
    env = make(GymEnvConfig(id="CartPole-v1"), render_mode="rgb_array")
    assert env.render_mode == "rgb_array"
    env.close()
    shown = GymEnvConfig(id="CartPole-v1", kwargs={"render_mode": "human"})
    assert make(shown).render_mode == "human"  # as a keyboard wants it
    assert make(shown, render_mode="rgb_array").render_mode == "rgb_array"  # as a video wants it


@pytest.mark.parametrize(
    ("kwargs", "limit", "expected"),
    [
        ({"spec": False}, None, None),
        ({"spec": False}, 7, 7),
        ({"spec": False, "inner": 5}, None, 5),
        ({"spec": False, "inner": 5}, 7, 5),
        ({"spec": True, "inner": 9}, 7, 7),
        ({"spec": True, "inner": 5}, 7, 5),
    ],
)
def test_the_smallest_time_limit_is_the_environments(kwargs, limit, expected):
    env = ImportEnvConfig(target="testbed:limited", kwargs=kwargs, max_episode_steps=limit)
    assert describe(env).max_episode_steps == expected
    assert describe(GymEnvConfig(id="CartPole-v1", max_episode_steps=limit)).max_episode_steps == (limit or 500)


def test_an_environment_is_identified_by_the_source_of_its_class_and_wrappers(tmp_path, monkeypatch):
    """CORRECTNESS 35."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def contents(env="", wrapper=""):
        (tmp_path / "own_env.py").write_text(f"def make():\n    {env or 'pass'}\n")
        (tmp_path / "own_wrapper.py").write_text(f"def wrap(env):\n    {wrapper or 'pass'}\n")
        for name in ("own_env", "own_wrapper"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        wrappers = (WrapperConfig(target="own_wrapper:wrap"),)
        configs = ImportEnvConfig(target="own_env:make", wrappers=wrappers), GymEnvConfig(id="CartPole-v1", wrappers=wrappers)
        return [content_of(config) for config in configs]

    first = contents()
    assert set(first[0].sources) == {"own_env", "own_wrapper"}
    assert set(first[1].sources) == {"gymnasium.envs.classic_control.cartpole", "registry:CartPole-v1", "own_wrapper"}
    assert contents() == first
    other_env, other_wrapper = contents(env="x = 1"), contents(wrapper="x = 1")
    assert other_env[0] != first[0]
    assert other_env[1] == first[1]
    assert all(a != b for a, b in zip(other_wrapper, first, strict=True))
    for name in ("own_env", "own_wrapper"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_an_id_is_identified_by_its_registry_entry(monkeypatch):
    """CORRECTNESS 35."""
    found = []
    for entry, kwargs in (("testbed:Toy", {}), ("testbed:Toy", {"a": 1}), ("apibed:NotAnEnv", {}), (Config, {"o": object()})):
        monkeypatch.setitem(gym.registry, "Mine-v0", gym.envs.registration.EnvSpec("Mine-v0", entry_point=entry, kwargs=kwargs))
        found.append(content_of(GymEnvConfig(id="package:Mine-v0")))
        assert content_of(GymEnvConfig(id="package:Mine-v0")) == found[-1]
    assert len({str(content) for content in found}) == 4
    assert content_of(GymEnvConfig(id="Nowhere-v0")).sources == {}
