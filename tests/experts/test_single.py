import typing

import pytest

from distil.config import Config, validate
from distil.errors import InputError
from distil.experts import single
from distil.experts.scripted import ScriptedExpertConfig


class Holder(Config):
    expert: single.SingleExpertConfig


def test_every_kind_can_be_selected():
    union = typing.get_args(typing.get_args(single.SingleExpertConfig)[0])
    assert set(union) == set(single.KINDS)
    needs = {"sb3": {"path": "x.zip"}, "rllib": {"path": "x"}, "policy": {"path": "run"}, "import": {"target": "a:b"}}
    for model in single.KINDS:
        kind = model.model_fields["kind"].default
        assert type(validate(Holder, {"expert": {"kind": kind, **needs.get(kind, {})}}).expert) is model
    assert validate(Holder, {"expert": {"kind": "scripted"}}).expert == ScriptedExpertConfig()


def test_a_team_is_not_a_single_expert():
    """A team cannot contain teams."""
    with pytest.raises(InputError, match="no kind 'several'"):
        validate(Holder, {"expert": {"kind": "several", "members": {}}})
    with pytest.raises(InputError, match="did you mean scripted"):
        validate(Holder, {"expert": {"kind": "script"}})
