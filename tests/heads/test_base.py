import gymnasium as gym
import pytest
import torch

from distil.heads.base import Context
from distil.heads.config import CategoricalConfig, DeterministicConfig, EnergyConfig, GaussianConfig, MixtureConfig
from distil.heads.iterative_config import DiffusionConfig, FlowConfig, ShortcutConfig, TwoStepConfig
from distil.heads.latent_config import LatentConfig
from distil.nn.rows import RowGenerator
from distil.spaces import action_spec

SPACES = [
    (DeterministicConfig(), gym.spaces.Box(-1, 1, (2, 2))),
    (DeterministicConfig(loss="l1"), gym.spaces.Box(-1, 1, ())),
    (GaussianConfig(), gym.spaces.Box(-1, 1, (3,))),
    (MixtureConfig(), gym.spaces.Box(-1, 1, (3,))),
    (EnergyConfig(), gym.spaces.Box(-1, 1, (3,))),
    (LatentConfig(), gym.spaces.Box(-1, 1, (3,))),
    *((config, gym.spaces.Box(-1, 1, (3,))) for config in (FlowConfig(), ShortcutConfig(), DiffusionConfig(), TwoStepConfig())),
    (CategoricalConfig(), gym.spaces.Discrete(4)),
    (CategoricalConfig(), gym.spaces.MultiDiscrete([[2, 3], [4, 5]])),
    (CategoricalConfig(), gym.spaces.MultiBinary(3)),
]


@pytest.mark.parametrize(("config", "space"), SPACES)
@pytest.mark.parametrize("chunk", [1, 3])
def test_every_head_keeps_the_contract(config: GaussianConfig, space: gym.Space, chunk: int) -> None:
    leaf = action_spec(space).leaf
    head = config.build(leaf, 5, chunk, generator=torch.Generator().manual_seed(0))
    context = Context(pooled_BD=torch.randn(7, 5, generator=torch.Generator().manual_seed(1)))
    mode = head.point(context)
    sample = head.sample(context, generator=torch.Generator().manual_seed(2))
    assert mode.shape == sample.shape
    assert mode.shape[:2] == (7, chunk)
    found = head.loss(context, sample, torch.zeros(7, chunk, dtype=torch.bool))
    loss = found.loss_BT
    assert set(found.extras) == ({"kl", "reconstruction"} if config.kind == "latent" else set())
    assert loss.shape == (7, chunk)
    loss.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())
    again = head.sample(context, generator=torch.Generator().manual_seed(2))
    assert torch.equal(sample, again)
    if leaf.kind != "box":
        assert (mode < torch.tensor(leaf.nvec)).all()
        assert (sample < torch.tensor(leaf.nvec)).all()
        assert mode.dtype == torch.int64
    else:
        assert (mode.abs() <= 1).all()
        assert (sample.abs() <= 1).all()


@pytest.mark.parametrize(
    ("config", "space"), [each for each in SPACES if isinstance(each[1], gym.spaces.Box) and each[1].shape == (3,)]
)
def test_two_ranks_have_the_losses_of_one(config: GaussianConfig, space: gym.Space) -> None:
    """CORRECTNESS 28, for heads whose loss is random: each rank has a half of the batch."""
    head = config.build(action_spec(space).leaf, 5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_(False)
    if head.needs_labels:
        head.fit_labels(torch.rand(100, 2, 3) - 0.5, 0)
    context, labels, no_pads = torch.randn(8, 5), torch.rand(8, 2, 3) - 0.5, torch.zeros(8, 2, dtype=torch.bool)

    def losses(rank: int, world_size: int) -> torch.Tensor:
        generator, rows = RowGenerator(), slice(rank * 8 // world_size, (rank + 1) * 8 // world_size)
        generator.rank, generator.world_size = rank, world_size
        generator.manual_seed(1)
        return head.loss(Context(pooled_BD=context[rows]), labels[rows], no_pads[rows], generator=generator).loss_BT

    torch.testing.assert_close(torch.cat([losses(0, 2), losses(1, 2)]), losses(0, 1))
