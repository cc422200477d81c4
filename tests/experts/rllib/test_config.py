import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces

from distil.content import changed
from distil.envs import EnvSpec, GymEnvConfig
from distil.errors import InputError
from distil.experts.rllib.config import RllibExpertConfig
from distil.spaces import action_spec, observation_spec

ENV = GymEnvConfig(id="x")


def build(path, observation, action, **config):
    observation, action = observation_spec(observation), action_spec(action)
    spec = EnvSpec(name="x", observation=observation, action=action, max_episode_steps=None, reward_threshold=None)
    return RllibExpertConfig(path=str(path), **config).build(ENV, spec)


@pytest.fixture
def folder(rllib, tmp_path):
    return rllib.Made(model={"fcnet_hiddens": [4]}).save(tmp_path / "c")


def test_the_spaces_must_fit(rllib, folder):
    wide = spaces.Box(-3, 3, (4,), np.float32)
    with pytest.raises(InputError, match=r"made for observations Box\(3\) float32; the environment has Box\(4\) float32"):
        build(folder, wide, rllib.BOX)
    with pytest.raises(InputError, match=r"made for actions Box\(2\) float32; the environment has Discrete\(2\)"):
        build(folder, rllib.VECTOR, spaces.Discrete(2))
    with pytest.raises(InputError, match=r"trained with actions from -2 to 7; those of the environment are from -1 to 1"):
        build(folder, rllib.VECTOR, spaces.Box(-1, 1, (2,), np.float32))
    with pytest.raises(InputError, match="says whether actions are rescaled; remove normalize_actions"):
        build(folder, rllib.VECTOR, rllib.BOX, normalize_actions=True)


def test_choices_that_do_not_start_at_zero(rllib, tmp_path):
    action = spaces.Discrete(3, start=1)
    folder = rllib.Made(action=action).save(tmp_path)
    with pytest.raises(InputError, match="RLlib counts choices from 0"):
        build(folder, rllib.VECTOR, action)


def test_a_module_alone_says_less(rllib, tmp_path):
    made = rllib.Made(model={"fcnet_hiddens": [4]})
    made.module.save_to_path(str(tmp_path / "m"), use_msgpack=True)
    with pytest.raises(
        InputError, match=r"a module alone doesn't say whether RLlib rescaled its actions: set expert.normalize"
    ):
        build(tmp_path / "m", rllib.VECTOR, rllib.BOX)
    with pytest.raises(InputError, match="its observations have other bounds than the environment's, as behind a filter"):
        build(tmp_path / "m", spaces.Box(-9, 9, (3,), np.float32), rllib.BOX)
    observations = {"obs": np.ones((1, 3), np.float32)}
    whole = build(made.save(tmp_path / "c"), rllib.VECTOR, rllib.BOX).act(observations).actions
    alone = build(tmp_path / "m", rllib.VECTOR, rllib.BOX, normalize_actions=True).act(observations).actions
    np.testing.assert_array_equal(alone, whole)
    raw = build(tmp_path / "m", rllib.VECTOR, rllib.BOX, normalize_actions=False).act(observations).actions
    assert not np.allclose(raw, whole)


def test_its_content_is_what_it_reads(folder):
    config = RllibExpertConfig(path=str(folder))
    first = config.content(ENV)
    state = folder / "learner_group/learner/rl_module/default_policy/module_state.msgpack"
    for path in (state, folder / "env_runner/module_to_env_connector/class_and_ctor_args.pkl"):
        path.write_bytes(path.read_bytes() + b" ")
        second = config.content(ENV)
        assert changed(second.files, first.files) == [str(path)]
        first = second


def test_neither_ray_nor_torch_is_imported(rllib, folder):
    code = (
        "import sys, pickle, numpy as np\n"
        "from gymnasium import spaces\n"
        "from distil.envs import EnvSpec, GymEnvConfig\n"
        "from distil.experts.rllib.config import RllibExpertConfig\n"
        "from distil.spaces import action_spec, observation_spec\n"
        "seen = observation_spec(spaces.Box(-3, 3, (3,)))\n"
        "action = action_spec(spaces.Box(np.float32([-2, 0]), np.float32([2, 7])))\n"
        "spec = EnvSpec(name='x', observation=seen, action=action, max_episode_steps=None, reward_threshold=None)\n"
        "expert = RllibExpertConfig(path=sys.argv[1]).build(GymEnvConfig(id='x'), spec)\n"
        "pickle.loads(pickle.dumps(expert)).act({'obs': np.zeros((2, 3), np.float32)})\n"
        "assert not {'ray', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
