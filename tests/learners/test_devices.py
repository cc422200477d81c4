"""Steps on a device that is no CPU, without one: torch's fake tensors know their device, and hold no values.

An operation on tensors of two devices fails with them, and so does whatever reads a value, for which the host would wait.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from interactionbed import ALGORITHMS, setup_of, streams_of, update_of
from pixelbed import changes, pixels, rows
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from distil.learners.rank import Rank
from distil.objectives.augment import Augmenter
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.supervised import Supervised
from distil.objectives.tensors import to_torch

ITERATIVE = ("flow", "shortcut", "diffusion", "two_step", "latent")
CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


class Generator(torch.Generator):
    """There is none for the other device: one that says it is there."""

    device = ELSEWHERE


def moved(value: Any, fake: FakeTensorMode, known: dict[int, Any]) -> Any:
    """`value` with all tensors below it on the other device."""
    if id(value) in known:
        return known[id(value)]
    made = known[id(value)] = value
    if isinstance(value, torch.Tensor):
        made = fake.from_tensor(value).detach().to(ELSEWHERE)
        made = nn.Parameter(made, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else made
    elif isinstance(value, torch.device):
        made = ELSEWHERE
    elif isinstance(value, torch.Generator):
        made = Generator()
    elif isinstance(value, Ranks):
        made = Ranks(device=ELSEWHERE)
    elif isinstance(value, tuple):
        made = tuple(moved(each, fake, known) for each in value)
    elif isinstance(value, list | dict):
        for key, each in list(enumerate(value) if isinstance(value, list) else value.items()):
            value[key] = moved(each, fake, known)
    elif type(value).__module__.startswith(("distil.", "torch.nn.")) and hasattr(value, "__dict__"):
        for name, each in list(vars(value).items()):
            if (new := moved(each, fake, known)) is not each:
                object.__setattr__(value, name, new)
    known[id(value)] = made
    return made


def step_elsewhere(objective: Any, batches: dict[str, Any], augment: Augmenter | None = None) -> set[str]:
    """Take a step on the other device; return the types of device that its figures are on."""
    with FakeTensorMode() as fake:
        known: dict[int, Any] = {}
        objective, batches, augment = (moved(value, fake, known) for value in (objective, batches, augment))
        if augment is not None:
            batches = {name: augment(batch) for name, batch in batches.items()}
        return {value.device.type for value in objective.step(batches).values()}


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_algorithms_of_interaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    streams_of(tmp_path, kind)
    rank, seen = Rank(setup_of(tmp_path, kind)), list[Any]()
    objective: Any = rank._objective
    own = type(objective).step
    monkeypatch.setattr(type(objective), "step", lambda self, batches: seen.append(batches) or own(self, batches))
    for index in (1, 2):
        plan, streams = update_of(kind, 2, index), streams_of(tmp_path, kind)
        rank.update(plan, {name: streams[name] for name in plan.streams})
    monkeypatch.undo()
    assert step_elsewhere(objective, dict(seen[-1])) == {"meta"}
    rank.close()


@pytest.mark.parametrize(
    "keys",
    [
        *({"head": {"kind": kind}} for kind in ("deterministic", "gaussian", "mixture", "bins", "codes", "energy", *ITERATIVE)),
        *({"encoder": {"kind": kind, "width": 16, "channels": [8]}} for kind in ("resmlp", "gru", "transformer")),
        *({"head": {"kind": "flow", "network": {"kind": kind}}, "chunk": 3} for kind in ("unet", "transformer")),
    ],
    ids=str,
)
def test_cloning_from_changed_pixels(keys: dict[str, Any]) -> None:
    policy = pixels(**keys, obs_horizon=2)
    augment = Augmenter([config.build(policy) for config in changes()], CPU)
    objective = Supervised(policy, OptimiserConfig(ema_decay=0.9))
    objective.begin(9)
    batch = to_torch(rows(8, 2, keys.get("chunk", 1)), CPU)
    objective.step({"demos": batch})
    assert step_elsewhere(objective, {"demos": batch}, augment) == {"meta"}
