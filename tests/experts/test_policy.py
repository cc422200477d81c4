import numpy as np
import pytest

from distil.envs import GymEnvConfig, describe
from distil.errors import InputError
from distil.experts.policy import PolicyExpertConfig
from distil.policies.checkpoint import save_policy
from distil.policies.config import PolicyConfig, TemporalEnsembleConfig
from distil.policies.predict import Predictor

torch = pytest.importorskip("torch")
PENDULUM = GymEnvConfig(id="Pendulum-v1")


@pytest.fixture
def make(tmp_path):
    def make(**config):
        from distil.policies.policy import Policy

        spec = describe(PENDULUM)
        torch.manual_seed(0)
        policy = Policy(PolicyConfig(**config), spec.observation, spec.action)
        rng = np.random.default_rng(0)
        rows = {"obs": rng.normal(size=(50, 3)).astype(np.float32), "action": rng.uniform(-2, 2, (50, 1)).astype(np.float32)}
        policy.fit_normaliser(rows)
        ref = policy.ref(1)
        save_policy(ref, tmp_path / "run" / "policy")
        return ref, PolicyExpertConfig(path=str(tmp_path / "run")).build(PENDULUM, spec)

    return make


@pytest.mark.parametrize("ensemble", [1, 3])
def test_acts_as_the_policy_does(make, ensemble):
    ref, expert = make(ensemble=ensemble)
    assert not expert.stateful
    for num in (1, 4, 1):
        obs = np.random.default_rng(num).normal(size=(num, 3)).astype(np.float32)
        np.testing.assert_allclose(expert.act({"obs": obs}).actions, Predictor(ref).predict(obs), atol=1e-5)


@pytest.mark.parametrize("keys", [{}, {"temporal_ensemble": TemporalEnsembleConfig()}])
def test_a_chunking_policy_is_stateful_and_resets_on_begin(make, keys):
    """CORRECTNESS 7."""
    _, expert = make(chunk=4, **keys)
    assert expert.stateful
    obs = {"obs": np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)}
    expert.begin(0, 1)
    expert.begin(1, 2)
    first = expert.act(obs).actions
    second = expert.act(obs).actions
    assert not np.allclose(first, second)
    expert.begin(0, 5)
    third = expert.act(obs).actions
    np.testing.assert_array_equal(third[0], first[0])
    assert not np.allclose(third[1], first[1])


def test_a_missing_policy_and_other_spaces(make, tmp_path):
    with pytest.raises(InputError, match=r"holds no policy \(policy.safetensors\)"):
        PolicyExpertConfig(path=str(tmp_path)).build(PENDULUM, describe(PENDULUM))
    make()
    cartpole = GymEnvConfig(id="CartPole-v1")
    with pytest.raises(InputError, match=r"made for observations Box\(3\) float32; the environment has Box\(4\) float32"):
        PolicyExpertConfig(path=str(tmp_path / "run")).build(cartpole, describe(cartpole))
