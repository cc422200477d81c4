"""As few groups as possible: starting one takes 10 to 20 s."""

import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest

from distil.config import validate
from distil.errors import InputError, SupersededError
from distil.heads.config import BinsConfig
from distil.learners.config import LearnerConfig
from distil.learners.data import demos
from distil.learners.ray_train import use_gpu
from distil.objectives.augment_config import ObservationNoiseConfig
from distil.plans import UpdatePlan, WatchPlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.store import MixtureConfig, WeightConfig

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning:ray")]

SETTINGS = {
    "policy": PolicyConfig(encoder=MlpConfig(hidden=(16, 16)), head=BinsConfig(num_bins=8, spacing="quantile", hidden=8)),
    "ema_decay": 0.9,
    "validation_fraction": 0.2,
    "validate_every": 10,
    "learning_rate": 3e-3,
    "augment": (ObservationNoiseConfig(std=0.2),),
}
WATCH = WatchPlan(every=30, num_episodes=1)


def close(one, two) -> bool:
    assert one.arrays.keys() == two.arrays.keys()
    return all(np.allclose(one.arrays[name], two.arrays[name], rtol=0, atol=1e-5) for name in one.arrays)


def kill_inside(learner, folder, rank: int) -> None:
    """Kill rank `rank` with SIGKILL once there is a checkpoint inside the second update."""
    deadline_s = time.monotonic() + 20
    while not any("-done" not in path.name for path in folder.glob("round-000001-*.safetensors")):
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    os.kill(learner.rank_pids()[rank], signal.SIGKILL)


def check_a_mixture(bed, group, alone) -> None:
    """Ranks open the pinned parts themselves."""
    bed.make(bed.folder / "other", num_episodes=4, first=50)
    parts = [{"path": str(bed.folder / "store"), "weight": 2}, {"path": str(bed.folder / "other")}]
    plan, mixture = UpdatePlan(num_steps=30, round=2), validate(MixtureConfig, {"parts": parts}).pin()
    bed.more(first=80)  # after it was pinned
    streams = demos(*mixture.resolve(), shares=mixture.weights)
    assert group.update(plan, streams)["train/epochs"] == alone.update(plan, streams)["train/epochs"]
    assert close(group.policy, alone.policy)


def check_weights(bed, group, alone) -> None:
    """CORRECTNESS 28 and 29: those of the plan, and those that the snapshot has."""
    plan = UpdatePlan(num_steps=30, round=3, weights=WeightConfig(round_decay=0.1, intervention=9.0))
    snapshot = bed.more(first=90, round=1)
    snapshot = snapshot.weighted(np.arange(snapshot.num_episodes) % 3 + 0.1)
    metrics, expected = group.update(plan, demos(snapshot)), alone.update(plan, demos(snapshot))
    assert metrics["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-4)
    assert metrics["train/validation_loss"] == pytest.approx(expected["train/validation_loss"], rel=1e-4)
    assert close(group.policy, alone.policy)


def check_taken_over(bed, group) -> None:
    """Also on other hosts, ranks write nothing once a newer attempt has removed the lease; their error is the run's."""
    before = set((bed.folder / "group").iterdir())
    bed.attempt.beat.unlink()
    with pytest.raises(SupersededError, match="its lease is gone"):
        group.update(UpdatePlan(num_steps=30, round=4), demos(bed.snapshot))
    assert set((bed.folder / "group").iterdir()) == before


def test_two_ranks_take_the_steps_of_one_also_when_one_is_killed(bed, ray_session):
    """CORRECTNESS 28 and 11: same global batches, parameters equal to 1e-5; a killed rank changes nothing."""
    first, second = UpdatePlan(num_steps=40, watch=WATCH), UpdatePlan(num_steps=300, round=1)
    alone = bed.learner("alone", **SETTINGS)
    expected = alone.update(first, demos(bed.snapshot))
    after_first = alone.policy
    alone.update(second, demos(bed.snapshot.first(7)))
    killed, shown = [], {}

    def progress(what, done, total, /, **figures):
        if group.policy.version == 1 and not killed:
            killed.append(group.rank_pids()[1])
            kill_inside(group, bed.folder / "group", rank=1)

    group = bed.learner("group", num_learners=2, progress=progress, check=bed.attempt.check, **SETTINGS)
    try:
        metrics = group.update(first, demos(bed.snapshot), shown.__setitem__)
        assert close(group.policy, after_first)
        assert list(shown) == [30, 40] and close(shown[40], after_first)  # noqa: PT018
        assert metrics.keys() == expected.keys()
        assert metrics["train/loss"] == pytest.approx(expected["train/loss"], rel=1e-4)
        assert metrics["train/validation_loss"] == pytest.approx(expected["train/validation_loss"], rel=1e-4)

        assert group.update(first, demos(bed.snapshot)) == metrics, "an update that is done is not repeated"

        group.update(second, demos(bed.snapshot.first(7)))
        assert group.policy.version == 2
        assert len(killed) == 1
        assert group.rank_pids()[1] != killed[0], "the group was started again"
        assert close(group.policy, alone.policy)

        check_a_mixture(bed, group, alone)
        check_weights(bed, group, alone)
        check_taken_over(bed, group)
    finally:
        mailbox = group._mailbox
        group.close()
    group._thread.join(60)
    with pytest.raises(ray_session.exceptions.RayActorError):  # its process is gone
        ray_session.get(mailbox.status.remote(0, 0.0))
    group.close()  # once more does no harm


def test_interrupted_inside_an_update_stops_within_five_seconds(bed, ray_session):
    def progress(what, done, total, /, **figures):
        if done > 1:
            raise KeyboardInterrupt

    notes = []
    learner = bed.learner("group", num_learners=1, progress=progress, note=notes.append)
    assert notes == ["learner: starting Ray Train (learner.num_learners=1)"], "before the half minute that it takes"
    with pytest.raises(KeyboardInterrupt):
        learner.update(UpdatePlan(num_steps=10**8), demos(bed.snapshot))
    start_s = time.monotonic()
    learner.close()
    assert time.monotonic() - start_s < 5
    assert list((bed.folder / "group").glob("*.safetensors")), "what was done stays"
    learner._thread.join(60)
    assert not learner._thread.is_alive(), "the group ends too"


def test_a_group_larger_than_the_cluster_is_refused_at_once(bed, ray_session, monkeypatch):
    monkeypatch.setattr("distil.cluster._own", {ray_session.get_runtime_context().gcs_address})
    wanted = r"learners: at least 99 needed with 1 CPU each; the Ray cluster has 8 CPU \(\d free\): lower learner\.num_learners"
    with pytest.raises(InputError, match=wanted):
        bed.learner("group", num_learners=99, batch_size=99, device="cpu")


@pytest.mark.parametrize(
    ("labels", "gpus", "expected"),
    [
        ({}, 0, {"auto": False, "cpu": False}),
        ({}, 2, {"auto": True, "cpu": False, "cuda": True}),
        ({"ray.io/node-group": "headgroup"}, 0, {"auto": False, "cpu": False, "cuda": True}),
    ],
)
def test_cuda_waits_for_gpus_that_an_autoscaler_may_add(labels, gpus, expected, monkeypatch):
    """auto takes what is there."""
    node = {"Alive": True, "Resources": {"CPU": 8, "GPU": gpus}, "Labels": labels}
    monkeypatch.setattr("distil.learners.ray_train.ray", SimpleNamespace(nodes=lambda: [node]))
    for device in ("auto", "cpu", "cuda"):
        config = LearnerConfig(num_learners=2, device=device)
        if device in expected:
            assert use_gpu(config) == expected[device]
        else:
            with pytest.raises(
                InputError, match=r"learner\.device: the cluster has fewer than 2 GPUs; set learner\.device=cpu"
            ):
                use_gpu(config)
