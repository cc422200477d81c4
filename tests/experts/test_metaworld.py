import sys
from types import ModuleType

import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.errors import InputError
from distil.experts.scripted import ScriptedExpertConfig
from distil.spaces import action_spec, observation_spec

SPEC = EnvSpec(
    name="Meta-World/MT1",
    observation=observation_spec(spaces.Box(-np.inf, np.inf, (39,), np.float64)),
    action=action_spec(spaces.Box(-1, 1, (4,), np.float32)),
    max_episode_steps=500,
    reward_threshold=None,
)
REACH = GymEnvConfig(id="metaworld:Meta-World/MT1", kwargs={"env_name": "reach-v3"})


class Halver:
    def get_action(self, obs):
        return obs[:4] / 2


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("metaworld.policies")
    module.ENV_POLICY_MAP = {"reach-v3": Halver}
    monkeypatch.setitem(sys.modules, "metaworld", ModuleType("metaworld"))
    monkeypatch.setitem(sys.modules, "metaworld.policies", module)


def test_without_the_extra_it_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(InputError, match=r"no module named .*install it with pip install 'distil\[metaworld\]'"):
        ScriptedExpertConfig().build(REACH, SPEC)


@pytest.mark.usefixtures("fake")
def test_rows_are_passed_one_by_one_and_clipped():
    expert = ScriptedExpertConfig().build(REACH, SPEC)
    assert expert.name == "scripted metaworld reach-v3"
    obs = np.arange(78, dtype=np.float64).reshape(2, 39) / 20
    np.testing.assert_allclose(expert.act({"obs": obs}).actions, np.clip(obs[:, :4] / 2, -1, 1).astype(np.float32))


@pytest.mark.usefixtures("fake")
def test_the_task_must_be_named():
    with pytest.raises(InputError, match=r"no task 'reach-v2'; did you mean reach-v3"):
        ScriptedExpertConfig().build(GymEnvConfig(id="Meta-World/MT1", kwargs={"env_name": "reach-v2"}), SPEC)
    with pytest.raises(InputError, match=r"the task is missing; set it, for example env.kwargs.env_name"):
        ScriptedExpertConfig().build(GymEnvConfig(id="Meta-World/MT1"), SPEC)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_reach_succeeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings into the current folder
    pytest.importorskip("metaworld", reason="the metaworld extra isn't installed")
    from distil.envs import describe, make

    expert = ScriptedExpertConfig().build(REACH, describe(REACH))
    env = make(REACH)
    obs, _ = env.reset(seed=0)
    for _ in range(200):
        obs, _, _, _, info = env.step(expert.act({"obs": obs[None]}).actions[0])
        if info["success"]:
            return
    pytest.fail("never succeeded")
