import subprocess
import sys
from pathlib import Path

import pytest

from distil.config import Config, validate
from distil.content import changed
from distil.envs import GymEnvConfig
from distil.errors import InputError
from distil.experts.config import ExpertConfig


class Holder(Config):
    expert: ExpertConfig


@pytest.mark.parametrize("kind", ["scripted", "sb3", "rllib", "policy", "import", "random"])
def test_kind_selects_the_variant(kind):
    needed = {"sb3": {"path": "x"}, "rllib": {"path": "x"}, "policy": {"path": "x"}, "import": {"target": "a:b"}}.get(kind, {})
    config = validate(Holder, {"expert": {"kind": kind, **needed}})
    assert config.expert.kind == kind
    assert validate(Holder, config.model_dump(mode="json")) == config


def test_errors_name_the_key():
    with pytest.raises(InputError, match=r"unknown key expert.vecnormalise; did you mean vecnormalize\?"):
        validate(Holder, {"expert": {"kind": "sb3", "path": "x", "vecnormalise": "none"}})
    with pytest.raises(InputError, match="no kind 'script'; did you mean scripted"):
        validate(Holder, {"expert": {"kind": "script"}})


def test_importing_experts_imports_neither_torch_nor_ray():
    code = (
        "import sys, distil.experts.config as c; assert not {'torch', 'ray', 'mlflow', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_catalogue_lists_kinds_and_scripts():
    from distil.experts import catalogue

    listed = catalogue()
    assert set(listed) >= {"kind=sb3", "kind=policy", "kind=import", "kind=random", "kind=scripted name=metaworld"}
    assert listed["kind=scripted name=lunarlander"] == "For LunarLander, LunarLanderContinuous."
    assert all(text.endswith(".") for text in listed.values())


def test_experts_are_identified_by_their_content(tmp_path, monkeypatch):
    """CORRECTNESS 35: files by their bytes, code by its source, teams by their members."""
    env = GymEnvConfig(id="CartPole-v1")
    folder = tmp_path / "run/policy"
    folder.mkdir(parents=True)
    for path in (folder / "policy.safetensors", tmp_path / "m.zip", tmp_path / "vecnormalize.pkl", tmp_path / "config.yml"):
        path.write_bytes(b"1")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_expert.py").write_text("def act(obs):\n    return obs\n")
    own = {"kind": "import", "target": "own_expert:act"}
    configs = {
        "scripted": ({"kind": "scripted"}, [], ["distil.experts.controllers"]),
        "sb3": ({"kind": "sb3", "path": str(tmp_path)}, ["config.yml", "m.zip", "vecnormalize.pkl"], []),
        "sb3 none": ({"kind": "sb3", "path": str(tmp_path / "m.zip"), "vecnormalize": "none"}, ["config.yml", "m.zip"], []),
        "policy": ({"kind": "policy", "path": str(tmp_path / "run")}, ["policy.safetensors"], []),
        "import": (own, [], ["own_expert"]),
        "random": ({"kind": "random"}, [], []),
        "several": (
            {"kind": "several", "members": {"a": own, "b": {"kind": "policy", "path": str(folder)}}},
            ["policy.safetensors"],
            ["own_expert"],
        ),
    }
    for config, files, sources in configs.values():
        content = validate(Holder, {"expert": config}).expert.content(env)
        assert sorted(Path(path).name for path in content.files) == files
        assert list(content.sources) == sources
    expert = validate(Holder, {"expert": configs["sb3"][0]}).expert
    first = expert.content(env)
    for name in ("m.zip", "vecnormalize.pkl", "config.yml"):
        (tmp_path / name).write_bytes(b"2")
        second = expert.content(env)
        assert [Path(path).name for path in changed(second.files, first.files)] == [name]
        first = second
    monkeypatch.delitem(sys.modules, "own_expert", raising=False)
