import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from distil.heads.iterative_config import FlowConfig
from distil.nn.chunks_config import ChunkMlpConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.supervised import Supervised
from distil.policies.config import CnnConfig, PolicyConfig
from distil.policies.policy import Policy, PolicyLoss
from distil.spaces import observation_spec


def train(objective: Supervised, make_batch, steps: range, **kwargs) -> None:
    for step in steps:
        objective.step({"demos": make_batch(step, **kwargs)})


def gradient(policy, batch, world_size: int = 1) -> dict[str, torch.Tensor]:
    """The gradient of one step, seen through a first step without clipping: AdamW's first moment is 0.1 of it."""
    objective = Supervised(policy, OptimiserConfig(grad_clip=None), Ranks(world_size=world_size))
    objective.begin(10)
    objective.step({"demos": batch})
    moments = objective.state_dict().tensors
    return {name: value * 10 for name, value in moments.items() if name.startswith("adamw.first.")}


def test_learns_a_simple_function(make_policy, make_batch):
    objective = Supervised(make_policy(), OptimiserConfig(learning_rate=1e-2, warmup_steps=10))
    objective.begin(300)
    first = objective.step({"demos": make_batch(0, 64)})
    train(objective, make_batch, range(1, 299), size=64)
    last = objective.step({"demos": make_batch(299, 64)})
    assert float(last["loss"]) < 0.02 * float(first["loss"])
    assert set(last) == {"loss", "grad_norm"}
    assert 0 < objective.learning_rate < 1e-5


def test_doubling_a_demonstration_equals_doubling_its_weight(make_policy, make_batch):
    """CORRECTNESS 29."""
    batch = make_batch(0, 4)
    rows = torch.tensor([0, 1, 2, 3, 2])
    doubled = type(batch)(
        observations={"obs": batch.observations["obs"][rows]},
        actions=batch.actions[rows],
        is_pad=batch.is_pad[rows],
    )
    weighted = make_batch(0, 4, weights=torch.tensor([1.0, 1.0, 2.0, 1.0]))
    by_rows, by_weight = gradient(make_policy(), doubled), gradient(make_policy(), weighted)
    unweighted = gradient(make_policy(), batch)
    for name, value in by_rows.items():
        torch.testing.assert_close(value, by_weight[name], rtol=1e-4, atol=1e-7)
    assert any(not torch.allclose(value, unweighted[name], rtol=1e-2) for name, value in by_rows.items())


@pytest.mark.parametrize("ensemble", [1, 3])
def test_weights_on_two_ranks_have_one_denominator(make_policy, make_batch, monkeypatch, ensemble):
    """CORRECTNESS 28 and 29: the ranks' average is the gradient of the global weighted mean."""
    weights = torch.tensor([1.0, 1.0, 2.0, 6.0])
    whole = make_batch(0, 4, weights=weights)
    expected = gradient(make_policy(ensemble=ensemble), whole)
    halves = []
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.fill_(weights.sum()))  # with the other rank's
    try:
        for rows in (slice(0, 2), slice(2, 4)):
            batch = type(whole)(
                observations={"obs": whole.observations["obs"][rows]},
                actions=whole.actions[rows],
                is_pad=whole.is_pad[rows],
                weights=weights[rows],
            )
            halves.append(gradient(make_policy(ensemble=ensemble), batch, world_size=2))
    finally:
        torch.distributed.destroy_process_group()
    for name, value in expected.items():
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, value, rtol=1e-4, atol=1e-7)


def test_a_slice_that_weighs_nothing_moves_nothing(make_policy, make_batch, monkeypatch):
    """CORRECTNESS 28 and 29: neither where all of the global batch weighs nothing, nor where this rank's slice does."""
    nothing = make_batch(0, 4, weights=torch.zeros(4))
    assert all(not value.any() for value in gradient(make_policy(), nothing).values())
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda total: total.add_(5.0))  # the other rank's
    try:
        assert all(not value.any() for value in gradient(make_policy(), nothing, world_size=2).values())
        reported = [
            float(Supervised(make_policy(), OptimiserConfig(), Ranks(world_size=2)).step({"demos": batch})["loss"])
            for batch in (nothing, make_batch(0, 1, weights=torch.tensor([5.0])))
        ]
    finally:
        torch.distributed.destroy_process_group()
    alone = Supervised(make_policy(), OptimiserConfig()).step({"demos": make_batch(0, 1)})["loss"]
    assert reported == pytest.approx([0.0, float(alone)])  # the second: half of the weight, twice for two ranks


def test_pads_count_in_neither_numerator_nor_denominator(make_policy, make_batch):
    """CORRECTNESS 6, the learner's side: garbage in a padded step leaves the whole training state as it is."""
    states = []
    for garbage in (0.0, 1e6):
        batch = make_batch(0, 4, chunk=3)
        batch.is_pad[:, 2] = True
        actions = batch.actions.clone()
        actions[:, 2] = garbage
        objective = Supervised(make_policy(chunk=3), OptimiserConfig())
        objective.begin(10)
        objective.step({"demos": type(batch)(observations=batch.observations, actions=actions, is_pad=batch.is_pad)})
        states.append(objective.state_dict().tensors)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_ema_weights_are_the_evaluated_ones(make_policy, make_batch):
    """CORRECTNESS 26."""
    objective = Supervised(make_policy(), OptimiserConfig(ema_decay=0.9, learning_rate=1e-2))
    objective.begin(50)
    averaged, n = {name: value.clone() for name, value in objective.policy.named_parameters()}, 0
    for step in range(20):
        objective.step({"demos": make_batch(step)})
        decay, n = min(0.9, (1 + n) / (10 + n)), n + 1
        averaged = {name: decay * averaged[name] + (1 - decay) * p for name, p in objective.policy.named_parameters()}
    evaluated = dict(objective.evaluation_policy().named_parameters())
    for name, raw in objective.policy.named_parameters():
        torch.testing.assert_close(evaluated[name], averaged[name])
        assert not torch.allclose(evaluated[name], raw, atol=1e-4)
    assert objective.state_dict().counters["ema_updates"] == 20


@pytest.mark.parametrize("ema_decay", [None, 0.99])
def test_a_loaded_state_continues_bit_for_bit(make_policy, make_batch, ema_decay):
    """CORRECTNESS 11 and 26: moments, schedule, averages and their counter are in the state."""
    config = OptimiserConfig(ema_decay=ema_decay)
    undisturbed = Supervised(make_policy(0), config)
    undisturbed.begin(40)
    train(undisturbed, make_batch, range(20))
    state = undisturbed.state_dict()
    saved = type(state)(tensors={k: v.clone() for k, v in state.tensors.items()}, counters=dict(state.counters))
    train(undisturbed, make_batch, range(20, 40))
    resumed = Supervised(make_policy(1), config)
    resumed.load_state_dict(saved)
    train(resumed, make_batch, range(20, 40))
    mine, theirs = resumed.state_dict(), undisturbed.state_dict()
    assert mine.counters == theirs.counters
    assert mine.tensors.keys() == theirs.tensors.keys()
    assert all(torch.equal(mine.tensors[name], theirs.tensors[name]) for name in mine.tensors)


def test_evaluation_leaves_the_training_state_untouched(make_policy, make_batch):
    """CORRECTNESS 30: weights, statistics, mode and random numbers."""
    objective = Supervised(make_policy(), OptimiserConfig(ema_decay=0.9))
    objective.begin(10)
    train(objective, make_batch, range(3))
    before = {name: value.clone() for name, value in objective.state_dict().tensors.items()}
    random_state = torch.random.get_rng_state()
    policy = objective.evaluation_policy()
    assert not policy.training
    with torch.no_grad():
        policy.loss(make_batch(7))
        for value in policy.state_dict().values():
            value.zero_()
    assert objective.policy.training
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().tensors.items())


def test_restored_weights_are_trained_and_evaluated(make_policy, make_batch):
    objective = Supervised(make_policy(), OptimiserConfig(ema_decay=0.9))
    objective.begin(10)
    best = objective.evaluation_policy().state_dict()
    train(objective, make_batch, range(5))
    objective.restore_policy(best)
    for policy in (objective.policy, objective.evaluation_policy()):
        assert all(torch.equal(value, best[name]) for name, value in policy.state_dict().items())


def test_another_shape_is_named(make_policy):
    state = Supervised(make_policy(hidden=(8, 16)), OptimiserConfig()).state_dict()
    with pytest.raises(ValueError, match=r"policy\.encoder\S+ is \(8,\) there and \(16,\)"):
        Supervised(make_policy(), OptimiserConfig()).load_state_dict(state)


def test_averages_missing_from_a_state_are_named(make_policy):
    state = Supervised(make_policy(), OptimiserConfig()).state_dict()
    with pytest.raises(ValueError, match=r"ema\.\S+ is absent there"):
        Supervised(make_policy(), OptimiserConfig(ema_decay=0.9)).load_state_dict(state)


def test_bf16_trains_fp32_weights(make_policy, make_batch):
    losses = {}
    for precision in ("fp32", "bf16"):
        objective = Supervised(make_policy(), OptimiserConfig(precision=precision, learning_rate=1e-2))
        objective.begin(200)
        train(objective, make_batch, range(199), size=64)
        losses[precision] = float(objective.step({"demos": make_batch(199, 64)})["loss"])
        assert all(p.dtype == torch.float32 for p in objective.policy.parameters())
    assert losses["fp32"] != losses["bf16"] < 0.01


def test_the_loss_s_randomness_comes_from_its_generator_alone(make_policy, make_batch):
    """Reseeded equal: equal noise; torch's global state isn't read."""
    draws = []
    for global_seed in (1, 2):
        policy = make_policy()

        def losses(batch, *, generator, exact=policy.losses):
            return PolicyLoss(loss_B=exact(batch).loss_B + torch.rand(len(batch), generator=generator), extras={})

        policy.losses = losses
        objective = Supervised(policy, OptimiserConfig())
        objective.begin(5)
        objective.reseed(5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            draws.append([float(objective.step({"demos": make_batch(0)})["loss"]) for _ in range(3)])
    assert draws[0] == draws[1]


def test_the_heads_figures_are_reported(make_policy, make_batch):
    policy = make_policy()
    exact = policy.losses
    policy.losses = lambda batch, **rest: replace(exact(batch, **rest), extras={"kl": torch.tensor(2.0)})
    figures = Supervised(policy, OptimiserConfig()).step({"demos": make_batch()})
    assert list(figures) == ["loss", "grad_norm", "kl"]
    assert float(figures["kl"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("ensemble", [1, 3])
def test_compiled_takes_the_same_steps(make_policy, make_batch, ensemble):
    weights = []
    for compiled in (False, True):
        objective = Supervised(make_policy(ensemble=ensemble), OptimiserConfig(compile=compiled))
        objective.begin(20)
        train(objective, make_batch, range(20))
        weights.append(objective.evaluation_policy().state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile needs a C compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_policies_of_several_kinds_are_compiled_in_one_process(make_policy, make_batch):
    """A second shape was compiled for all shapes, which failed for images."""
    spec = observation_spec(spaces.Box(0, 255, (84, 84, 3), np.uint8))
    head = FlowConfig(network=ChunkMlpConfig(width=8, num_blocks=1))  # its loss draws from a generator of ours
    config = PolicyConfig(encoder=CnnConfig(channels=(4, 4), image_features=4), head=head)
    images = Policy(config, spec, make_policy().action, seed=0)
    batch = make_batch(0, 8)
    seen = {"obs": torch.zeros(8, 1, 84, 84, 3, dtype=torch.uint8)}
    for policy, given in ((make_policy(), make_batch(0, 16)), (images, replace(batch, observations=seen))):
        objective = Supervised(policy, OptimiserConfig(compile=True))
        objective.begin(1)
        assert bool(objective.step({"demos": given})["loss"].isfinite())
