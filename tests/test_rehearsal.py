from typing import Any

import pytest
import torch

from distil.config import validate
from distil.envs import describe
from distil.errors import InputError
from distil.objectives.gradient import GradientObjective
from distil.rehearsal import rehearse
from distil.runconfig import RunConfig

ENVS = {
    "discrete": {"kind": "import", "target": "testbed:Toy"},
    "nested": {"kind": "import", "target": "testbed:Nested"},
    "open box": {"kind": "import", "target": "testbed:InPlace"},
    "image": {"id": "CarRacing-v3"},
}


class Own(GradientObjective):
    """The policy's loss; `fault` names the method that is wrong, and how."""

    def __init__(self, *parts: Any, fault: str = "") -> None:
        super().__init__(*parts)
        self.fault = fault

    def loss(self, policy, batches, generator):
        if self.fault == "loss raises":
            raise ZeroDivisionError("no\nloss")
        loss_B = policy.loss(batches["demos"], generator=generator)
        return {"loss [B, T]": loss_B[:, None].expand(-1, 2), "scalar": loss_B.mean()}.get(self.fault, loss_B)

    @property
    def needs(self):
        return {
            "stream": {"agent": {}},
            "windows": {"demos": {"horizon": 2}},
            "list": ["demos"],
        }.get(self.fault, super().needs)

    def prepare(self, sources):
        return {} if self.fault == "prepare" else sources

    def step(self, batches):
        figures = super().step(batches)
        return {"figures": {"loss": torch.zeros(3)}, "no figures": None}.get(self.fault, figures)

    def state_dict(self):
        return {} if self.fault == "state" else super().state_dict()

    def load_state_dict(self, state):
        super().load_state_dict(state)
        if self.fault == "load":
            raise KeyError("critic")

    def evaluation_policy(self):
        return torch.nn.Linear(1, 1) if self.fault == "policy" else super().evaluation_policy()


def tried(env: dict[str, Any], fault: str = "", **more: Any) -> None:
    objective = {"kind": "import", "target": "test_rehearsal:Own", "kwargs": {"fault": fault}}
    config = validate(
        RunConfig, {"env": env, "expert": {"kind": "random"}, "algorithm": {"kind": "bc", "objective": objective}} | more
    )
    rehearse(config, describe(config.env))


@pytest.mark.parametrize("name", ENVS)
@pytest.mark.parametrize("policy", [{}, {"obs_horizon": 2, "chunk": 3}])
def test_a_right_objective_passes_whatever_the_spaces(name: str, policy: dict[str, Any]) -> None:
    tried(ENVS[name], policy=policy)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("loss raises", "loss failed on random data: ZeroDivisionError: no loss; fix the class"),
        ("loss [B, T]", r"loss returned the shape \[3, 2\], required: \[B\] = \[3\]; fix the class"),
        ("scalar", r"loss returned the shape \[\], required: \[B\] = \[3\]; fix the class"),
        ("stream", "the objective needs a stream 'agent', the plan has demos; fix `needs`"),
        ("windows", "needs failed .*horizon"),
        ("list", "needs returned list, required: collections.abc.Mapping"),
        ("prepare", "prepare returned no 'demos'"),
        ("figures", r"step returned as 'loss' the shape \[3\], required: a scalar tensor, \[\]"),
        ("no figures", "step returned NoneType, required: collections.abc.Mapping"),
        ("state", "state_dict returned dict, required: distil.objectives.base.ObjectiveState"),
        ("load", "load_state_dict failed on random data: KeyError: 'critic'"),
        ("policy", "evaluation_policy returned Linear, required: distil.policies.policy.Policy"),
    ],
)
def test_a_fault_of_an_objective_is_named_in_one_line(fault: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$") as caught:
        tried(ENVS["discrete"], fault)
    if fault != "stream":
        assert "algorithm.objective test_rehearsal:Own: " in str(caught.value)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    tried(ENVS["discrete"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_nothing_is_imported_for_a_run_of_distil_s_own_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distil.rehearsal.TemporaryDirectory", None)
    config = validate(RunConfig, {"env": ENVS["discrete"], "expert": {"kind": "random"}})
    rehearse(config, describe(config.env))
