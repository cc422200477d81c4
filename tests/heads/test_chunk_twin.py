import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.heads.base import Context
from distil.heads.iterative_config import DiffusionConfig, FlowConfig, ShortcutConfig, TwoStepConfig
from distil.heads.latent_config import LatentConfig
from distil.heads.tiles import tiling
from distil.heads.twins import bound
from distil.nn.chunks_config import ChunkMlpConfig
from distil.spaces import action_spec

LEAF, CHUNK, D = action_spec(gym.spaces.Box(-1, 1, (3,))).leaf, 4, 5
SMALL = ChunkMlpConfig(width=24, num_blocks=2)
HEADS = [
    FlowConfig(network=SMALL, solver="euler", temperature=0.4),
    FlowConfig(network=ChunkMlpConfig(width=16, num_blocks=0), num_steps=2),
    ShortcutConfig(network=SMALL, num_steps=2, temperature=0.4),
    DiffusionConfig(network=SMALL, target="epsilon"),
    DiffusionConfig(network=SMALL, num_steps=3, temperature=0.4),
    DiffusionConfig(network=SMALL, target="v", num_levels=7, num_steps=7),
    TwoStepConfig(network=SMALL),
    LatentConfig(network=SMALL, latent_dim=2),
]


def _both(config: FlowConfig, num: int):
    head = config.build(LEAF, D, CHUNK, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.fit_labels(torch.randn(50, CHUNK, 3) * torch.linspace(0.1, 0.5, CHUNK)[:, None] + 0.1, seed=0)
        head.rescale(torch.tensor([0.5, 1.0, 0.8]), torch.tensor([0.1, 0.0, -0.2]))
    arrays = {f"head.{name}": value.numpy() for name, value in head.state_dict().items()}
    return head, bound(config.numpy_twin(LEAF, CHUNK), arrays, D, tiling(num))


def _tiles(context: np.ndarray) -> np.ndarray:
    return tiling(len(context)).cut(np.concatenate([context, np.ones((len(context), 1), np.float32)], 1))


@pytest.mark.parametrize("config", HEADS, ids=lambda each: f"{each.kind}-{getattr(each, 'num_steps', '')}")
def test_a_twin_equals_its_head(config: FlowConfig) -> None:
    """CORRECTNESS 5; 19 rows: the second tile is not full."""
    num, rng = 19, np.random.default_rng(0)
    head, twin = _both(config, num)
    context = rng.standard_normal((num, D), np.float32)
    noise = rng.standard_normal((num, head.noise_size), np.float32)
    for drawn in (None, noise):
        given = Context(pooled_BD=torch.from_numpy(context))
        expected = head.point(given) if drawn is None else head.sample_from(given, torch.from_numpy(drawn))
        np.testing.assert_allclose(twin(_tiles(context), drawn), expected.detach().numpy(), atol=1e-5)


def test_a_row_depends_neither_on_its_neighbours_nor_on_its_place() -> None:
    """CORRECTNESS 6: bit for bit."""
    num, rng = 32, np.random.default_rng(0)
    head, twin = _both(HEADS[0], num)
    context, noise = rng.standard_normal((num, D), np.float32), rng.standard_normal((num, head.noise_size), np.float32)
    first, order = twin(_tiles(context), noise), rng.permutation(num)
    assert np.array_equal(twin(_tiles(context[order]), noise[order]), first[order])


def test_weights_of_another_network_are_refused() -> None:
    head = HEADS[0].build(LEAF, D, CHUNK, generator=torch.Generator().manual_seed(0))
    arrays = {f"head.{name}": value.numpy() for name, value in head.state_dict().items()}
    with pytest.raises(InputError, match=r"head\.network\.inputs"):
        bound(HEADS[0].numpy_twin(LEAF, CHUNK), arrays, D + 1, tiling(4))
    with pytest.raises(InputError, match=r"head\.slope"):
        bound(HEADS[0].numpy_twin(LEAF, CHUNK), arrays | {"head.slope": np.ones(2)}, D, tiling(4))
