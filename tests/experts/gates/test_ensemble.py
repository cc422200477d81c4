from gatebed import episode, plan_of, policy, snapshot

from distil.experts.gates.ensemble import EnsembleGateConfig
from distil.experts.gates.switch import Signal, SwitchPlan


def test_it_is_fitted_to_nothing(tmp_path, fitted):
    data, ref = snapshot(tmp_path / "s", episode(0, 3)), policy(ensemble=2)
    assert EnsembleGateConfig.needs_ensemble
    assert plan_of(EnsembleGateConfig(doubt=0.2), ref, data, 0) == SwitchPlan(enter=(Signal(threshold=0.2),))
    strict = plan_of(EnsembleGateConfig(doubt=0.2, discrepancy=0.1), ref, data, 0)
    assert strict == SwitchPlan(enter=(Signal(threshold=0.2),), ask_all=True, veto=0.1)
    assert strict.labels_all
    assert not fitted
