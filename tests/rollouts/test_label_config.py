import sys
import threading

import numpy as np
import pytest
from gymnasium import spaces
from labelbed import CARTPOLE, raw_store

from distil.config import validate
from distil.errors import InputError
from distil.rollouts.label_config import LabelConfig, stored_env
from distil.spaces import action_spec, observation_spec
from distil.store import StoreSpec


def config(**expert):
    return validate(LabelConfig, {"expert": expert})


def test_the_expert_is_picked_by_the_environment_that_the_store_names(tmp_path):
    spec = raw_store(tmp_path / "s", [3]).spec
    assert config(kind="scripted").build(spec).name == "scripted cartpole"
    unknown = raw_store(tmp_path / "unknown", [3], env={"origin": "somewhere"}).spec
    with pytest.raises(InputError, match=r"has no id to select by; set expert\.name"):
        config(kind="scripted").build(unknown)
    assert config(kind="scripted", name="cartpole").build(unknown).name == "scripted cartpole"
    with pytest.raises(InputError, match=r"expert scripted lunarlander: made for observations Box\(8"):
        config(kind="scripted", name="lunarlander").build(unknown)


def test_what_a_store_names_is_never_made(tmp_path):
    """Its environment is data from a file: a module and a function to be called with arguments, if one let it."""
    marker = tmp_path / "made"
    trap = {"kind": "import", "target": "pathlib:Path.touch", "kwargs": {"self": str(marker)}}
    wrapped = {"kind": "gym", "id": "trap:Trap-v0", "wrappers": [{"target": "pathlib:Path"}]}
    for name, env in (("trap", trap), ("wrapped", wrapped)):
        spec = raw_store(tmp_path / name, [3], env=env).spec
        assert config(kind="random").build(spec).name == "random"
    assert not marker.exists()


def test_the_limit_comes_from_the_store_or_from_the_registry():
    """An expert with a clock divides by it."""
    seen = []

    class Watching:
        def build(self, env, spec):
            seen.append((env.name, spec.max_episode_steps))

    spaces_of = {
        "observation": observation_spec(spaces.Box(-1, 1, (4,), np.float32)),
        "action": action_spec(spaces.Discrete(2)),
    }
    for env in (CARTPOLE, CARTPOLE | {"max_episode_steps": 60}, {"id": "Nobody/Knows-v0"}, {"kind": "import", "target": "a:b"}):
        watching = LabelConfig.model_construct(expert=Watching())
        watching.build(StoreSpec(**spaces_of, env=env))
    assert seen == [("CartPole-v1", 500), ("CartPole-v1", 60), ("Nobody/Knows-v0", None), ("a:b", None)]
    assert stored_env({}).name == "unknown"


def test_the_key_is_the_expert(tmp_path):
    spec = raw_store(tmp_path / "s", [3]).spec
    a, b = ({"kind": "import", "target": "testbed:Balancer", "kwargs": {"num_envs": num}} for num in (1, 2))
    keys = [config(**c).key(config(**c).build(spec), spec) for c in (a, a, b)]
    assert keys[0] == keys[1] != keys[2]
    expert = config(**a).build(spec)
    changed = config(**a).build(spec)
    changed._expert._target.weights = np.ones(3)  # the same configuration, but another content of the file that it names
    assert config(**a).key(expert, spec) != config(**a).key(changed, spec)
    expert._expert._target.lock = threading.Lock()
    assert len(config(**a).key(expert, spec)) == 64


def test_the_key_is_the_content_of_its_module(tmp_path, monkeypatch):
    """CORRECTNESS 35: a function is pickled by its name, so only its source tells."""
    spec = raw_store(tmp_path / "s", [3]).spec
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for text in ("def act(obs):\n    return 0\n", "def act(obs):\n    return 1\n"):
        (tmp_path / "labeller.py").write_text(text)
        expert = {"kind": "import", "target": "labeller:act"}
        keys += [config(**expert, version=v).key(config(**expert).build(spec), spec) for v in ("", 2)]
    monkeypatch.delitem(sys.modules, "labeller")
    assert len(set(keys)) == 4
