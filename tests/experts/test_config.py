import subprocess
import sys

import pytest

from distil.config import Config, validate
from distil.errors import InputError
from distil.experts.config import ExpertConfig


class Holder(Config):
    expert: ExpertConfig


@pytest.mark.parametrize("kind", ["scripted", "sb3", "policy", "import", "random"])
def test_kind_picks_the_variant(kind):
    needed = {"sb3": {"path": "x"}, "policy": {"path": "x"}, "import": {"target": "a:b"}}.get(kind, {})
    config = validate(Holder, {"expert": {"kind": kind, **needed}})
    assert config.expert.kind == kind
    assert validate(Holder, config.model_dump(mode="json")) == config


def test_errors_name_the_right_key():
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
