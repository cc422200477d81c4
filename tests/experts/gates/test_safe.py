import numpy as np
import pytest
from gatebed import partly_labelled, plan_of, policy

from distil.experts.gates.safe import LazyGateConfig, SafeGateConfig


@pytest.mark.parametrize(
    "config", [SafeGateConfig(threshold=0.3), LazyGateConfig(threshold=0.3, leave=0.25)], ids=["safe", "lazy"]
)
def test_safe_and_lazy_learn_how_far_the_policy_is_from_the_labels(tmp_path, fitted, config):
    """From all labelled steps, no matter who acted, and from no other."""
    ref = policy()
    data, steps, distances = partly_labelled(tmp_path, ref)
    plan = plan_of(config, ref, data, seed=3)
    ((observations, targets, high),) = fitted
    assert observations["obs"][:, 0].tolist() == steps
    np.testing.assert_allclose(targets, distances, atol=1e-5)
    assert high == 2.0  # the ends of a range
    assert (plan.leave, plan.stay, plan.labels_all, plan.veto) == (getattr(config, "leave", None), (), False, None)
    assert [signal.threshold for signal in plan.enter] == [0.3]
