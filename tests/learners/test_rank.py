"""A rank by itself; what it learns is in test_local.py, what several ranks learn in test_ray_train.py."""

from typing import Any

import numpy as np
import pytest
import torch

from distil.errors import InputError, RunError
from distil.learners.base import LearnerSetup
from distil.learners.config import LearnerConfig
from distil.learners.rank import Rank, choose_device
from distil.learners.ranks import ALONE, Ranks
from distil.plans import UpdatePlan
from distil.policies.config import MlpConfig, PolicyConfig

PLAN = UpdatePlan(num_steps=4)


def make_rank(bed: Any, ranks: Ranks = ALONE, resume: bool = False, seed: int = 0) -> Rank:
    setup = LearnerSetup(
        config=LearnerConfig(batch_size=16, checkpoint_every=2, warmup_steps=1),
        policy=PolicyConfig(encoder=MlpConfig(hidden=(8,))),
        spec=bed.snapshot.spec,
        folder=bed.folder / "checkpoints",
        seed=seed,
        resume=resume,
    )
    return Rank(setup, ranks=ranks)


def files(bed: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (bed.folder / "checkpoints").glob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "has_gpu", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_the_best_that_was_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, has_gpu: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert choose_device(name).type == expected


def test_a_gpu_that_is_not_there_is_never_replaced_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"set learner\.device=cpu"):
        choose_device("cuda")


def test_the_first_weights_are_those_of_the_seed(bed: Any) -> None:
    """CORRECTNESS 11: whatever else drew random numbers, and on whichever rank."""
    first = make_rank(bed).policy
    torch.manual_seed(123)
    torch.rand(7)
    for other, equal in ((make_rank(bed, Ranks(rank=1)), True), (make_rank(bed, seed=1), False)):
        same = all(np.array_equal(values, other.policy.arrays[name], equal_nan=True) for name, values in first.arrays.items())
        assert same == equal
    assert first.version == 0


def test_a_policy_is_read_out_once_a_version(bed: Any) -> None:
    rank = make_rank(bed)
    assert rank.policy is rank.policy
    rank.update(PLAN, bed.snapshot)
    assert rank.policy is rank.policy
    assert rank.policy.version == 1


def test_the_first_rank_alone_clears(bed: Any) -> None:
    make_rank(bed).update(PLAN, bed.snapshot)
    before = files(bed)
    assert before
    make_rank(bed, Ranks(rank=1))
    assert files(bed) == before  # not the second's to clear: the first may be writing
    make_rank(bed)
    assert not any(name.endswith(".safetensors") for name in files(bed))


class Apart(Ranks):
    """A rank whose first one is two steps ahead."""

    def of_first(self, value: int) -> int:
        return value + 2


def test_ranks_that_see_different_checkpoints_do_not_go_on(bed: Any) -> None:
    with pytest.raises(RunError, match=r"rank 1 doesn't see rank 0's checkpoints in .*checkpoints: use a shared folder"):
        make_rank(bed, Apart(rank=1)).update(PLAN, bed.snapshot)


def test_a_new_rank_takes_over_what_was_finished(bed: Any) -> None:
    rank = make_rank(bed)
    metrics = rank.update(PLAN, bed.snapshot)
    heir = make_rank(bed, resume=True)
    assert heir.policy.version == 1
    assert all(np.array_equal(values, heir.policy.arrays[name]) for name, values in rank.policy.arrays.items())
    assert heir.update(PLAN, bed.snapshot) == metrics  # reported, not repeated
