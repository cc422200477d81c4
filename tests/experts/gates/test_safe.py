import numpy as np
import pytest
from gatebed import episode, off_by, plan_of, policy, snapshot

from distil.experts.gates.safe import LazyGateConfig, SafeGateConfig


@pytest.mark.parametrize(
    "config", [SafeGateConfig(threshold=0.3), LazyGateConfig(threshold=0.3, leave=0.25)], ids=["safe", "lazy"]
)
def test_safe_and_lazy_learn_how_far_the_policy_is_from_the_labels(tmp_path, fitted, config):
    """From all labelled steps, no matter who acted, and from no other."""
    ref = policy()
    blank = snapshot(tmp_path / "blank", episode(0, 6), episode(1, 4))
    distances = np.arange(10) / 16
    labels = off_by(distances, blank, ref)
    marks = [1, 0, 1, 1, 0, 1]
    data = snapshot(
        tmp_path / "s",
        episode(0, 6, labels=labels[:6] * np.array(marks)[:, None].astype(np.float32), labelled=marks, by_policy=False),
        episode(1, 4, labels=labels[6:]),
        episode(2, 3, labelled=[0, 0, 0]),
    )
    plan = plan_of(config, ref, data, seed=3)
    ((observations, targets, high),) = fitted
    chosen = [0, 2, 3, 5, 6, 7, 8, 9]
    assert observations["obs"][:, 0].tolist() == [0, 2, 3, 5, 100, 101, 102, 103]
    np.testing.assert_allclose(targets, distances[chosen], atol=1e-5)
    assert high == 2.0  # the ends of a range
    assert (plan.leave, plan.stay, plan.labels_all, plan.veto) == (getattr(config, "leave", None), (), False, None)
    assert [signal.threshold for signal in plan.enter] == [0.3]
