"""What only a GPU can show: copies to it, its kernels, compiled and in bf16, NCCL, and a policy that acts there in an actor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from interactionbed import ALGORITHMS, setup_of, streams_of, update_of
from pixelbed import ACTION, changes, pixels, rows
from testbed import team_of

from distil.experts.policy import PolicyExpert
from distil.learners.data import demos
from distil.learners.rank import Rank
from distil.objectives.augment import Augmenter
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.supervised import Supervised
from distil.objectives.tensors import to_torch
from distil.plans import UpdatePlan
from distil.policies.torch_planner import TorchPlanner
from distil.rollouts.service.actors import Service
from distil.rollouts.service.config import ServiceConfig

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
GPU = torch.device("cuda")


@contextmanager
def unwaited() -> Iterator[None]:
    """Whatever makes the host wait for the GPU is an error."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def losses(update: Callable[[], Any], num: int) -> list[float]:
    return [float(update()["loss"]) for _ in range(num)]


def test_a_copy_keeps_its_values_when_the_batch_is_used_again() -> None:
    """It goes through memory of its own, and nobody waits for it."""
    batch = rows(512)
    kept = batch.observations["obs/image"].copy()
    with unwaited():
        moved = to_torch(batch, GPU)
        batch.observations["obs/image"][:] = 0
    assert moved.observations["obs/image"].device.type == "cuda"
    np.testing.assert_array_equal(moved.observations["obs/image"].cpu().numpy(), kept)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning:torch")
@pytest.mark.parametrize(("settings", "tolerance"), [({}, 1e-3), ({"compile": True}, 1e-3), ({"precision": "bf16"}, 5e-2)])
def test_steps_are_those_of_the_cpu(settings: dict[str, Any], tolerance: float) -> None:
    found = {}
    for device, own in ((torch.device("cpu"), {}), (GPU, settings)):
        objective = Supervised(
            pixels().to(device), OptimiserConfig(learning_rate=3e-3, warmup_steps=5, **own), Ranks(device=device)
        )
        objective.begin(60)
        batch = to_torch(rows(64), device)
        found[device.type] = losses(lambda objective=objective, batch=batch: objective.step({"demos": batch}), 60)
        assert all(value.dtype == torch.float32 for value in objective.policy.parameters())
    assert found["cpu"][-1] < 0.5 * found["cpu"][0]
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=tolerance, atol=tolerance * found["cpu"][0])


def test_a_step_with_augmented_images_waits_for_nothing() -> None:
    """The learner's loop promises it; a scalar that is read from the GPU, or a copy from ordinary memory, breaks it."""
    policy = pixels().to(GPU)
    objective = Supervised(policy, OptimiserConfig(ema_decay=0.9), Ranks(device=GPU))
    augment = Augmenter([config.build(policy) for config in changes()], GPU)
    objective.begin(20)
    batch = to_torch(rows(64), GPU)
    objective.step({"demos": augment(batch)})  # what the first step sets up may wait
    with unwaited():
        for _ in range(3):
            changed = augment(batch)
            objective.step({"demos": changed})
    assert changed.observations["obs/image"].device.type == "cuda"
    assert not torch.equal(changed.observations["obs/image"], batch.observations["obs/image"])


def test_an_update_continues_on_the_gpu(bed: SimpleNamespace) -> None:
    """With all that a checkpoint holds: moments, averages, the best weights, random states."""
    settings = {"device": "cuda", "ema_decay": 0.9, "validation_fraction": 0.2, "validate_every": 10, "patience": 9}
    whole, halves = bed.learner("whole", **settings), bed.learner("halves", **settings)
    halves.update(UpdatePlan(num_steps=30), demos(bed.snapshot))
    halves.close()
    halves = bed.learner("halves", resume=True, **settings)
    whole.update(UpdatePlan(num_steps=30), demos(bed.snapshot))
    for learner in (whole, halves):
        learner.update(UpdatePlan(num_steps=30, round=1), demos(bed.snapshot))
    for name, value in whole.policy.arrays.items():
        np.testing.assert_allclose(halves.policy.arrays[name], value, atol=1e-5)
    for learner in (whole, halves):
        learner.close()


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_each_algorithm_of_interaction_learns_on_the_gpu(tmp_path: Path, kind: str) -> None:
    streams_of(tmp_path, kind)
    rank = Rank(setup_of(tmp_path, kind), ranks=Ranks(device=GPU))
    before = rank.policy.arrays
    for index in (1, 2):
        plan, streams = update_of(kind, 10, index), streams_of(tmp_path, kind)
        rank.update(plan, {name: streams[name] for name in plan.streams})
    after = rank.policy.arrays
    rank.close()
    assert all(np.isfinite(value).all() for value in after.values())
    assert any(not np.array_equal(after[name], value) for name, value in before.items())


def test_a_group_of_nccl() -> None:
    """Of one rank, which sends to itself: the collectives, and a step with DistributedDataParallel."""
    torch.cuda.set_device(0)
    torch.distributed.init_process_group("nccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        ranks = Ranks(world_size=2, device=GPU)  # as if there were another one
        assert ranks.total([1.5, 2.0]) == [1.5, 2.0]
        assert ranks.of_first(2**40) == 2**40
        mean = torch.ones(3, device=GPU)
        ranks.mean_([mean])
        assert mean.tolist() == [0.5, 0.5, 0.5]
        objective = Supervised(pixels().to(GPU), OptimiserConfig(), ranks)
        objective.begin(10)
        batch = to_torch(rows(64), GPU)
        found = losses(lambda: objective.step({"demos": batch}), 10)
        assert found[-1] < found[0]
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray")
def test_ray_train_gives_a_rank_its_gpu(ray_session: Any, bed: SimpleNamespace) -> None:
    group = bed.learner("group", num_learners=1, device="cuda")
    alone = bed.learner("alone", device="cuda")
    for learner in (group, alone):
        learner.update(UpdatePlan(num_steps=30), demos(bed.snapshot))
    for name, value in alone.policy.arrays.items():
        np.testing.assert_allclose(group.policy.arrays[name], value, atol=1e-5)
    for learner in (group, alone):
        learner.close()


@pytest.mark.ray
def test_a_served_policy_acts_on_the_gpu_of_its_actor(ray_session: Any) -> None:
    ref = pixels().ref(0)
    config = ServiceConfig(num_cpus=0.5, num_gpus=1)
    service = Service(team_of(PolicyExpert("pixels", ref)), ACTION.leaf, config, None, address=None, num_cpus=1)
    try:
        seen = {name: value[:, 0] for name, value in rows(16).observations.items()}
        labels = service.team.members["pixels"].act(seen)
        expected = TorchPlanner(ref).plan(seen, None)[:, 0]
        np.testing.assert_allclose(labels.actions, expected, atol=1e-4)
    finally:
        service.close()
