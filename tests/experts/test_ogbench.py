import sys

import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.errors import InputError
from distil.experts.scripted import ScriptedExpertConfig
from distil.spaces import action_spec, observation_spec

ENV = GymEnvConfig(id="distil.envs.ogbench:OGBench/Targets", kwargs={"env_name": "cube-single-v0"})


def spec(num_actions):
    return EnvSpec(
        name="OGBench/Targets",
        observation=observation_spec(spaces.Box(-np.inf, np.inf, (34,), np.float32)),
        action=action_spec(spaces.Box(-1, 1, (num_actions,), np.float32)),
        max_episode_steps=200,
        reward_threshold=None,
    )


def test_without_the_extra_it_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ogbench", None)
    for name in [name for name in sys.modules if name.startswith("ogbench.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"no module named .*install it with pip install 'distil\[ogbench\]'"):
        ScriptedExpertConfig().build(ENV, spec(5))


def test_other_actions_are_refused():
    pytest.importorskip("ogbench", reason="the ogbench extra isn't installed")
    with pytest.raises(InputError, match=r"scripted ogbench: made for .*actions Box\(5\).*Box\(4\)"):
        ScriptedExpertConfig().build(ENV, spec(4))


def test_its_content_is_that_of_the_policies():
    pytest.importorskip("ogbench", reason="the ogbench extra isn't installed")
    assert any("cube_markov" in name for name in ScriptedExpertConfig().content(ENV).sources)
