from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from distil.errors import InputError
from distil.heads.base import Context
from distil.heads.config import BinsConfig, CodesConfig
from distil.heads.tiles import tiling
from distil.heads.twins import bound
from distil.spaces import action_spec

LEAF, CHUNK, D = action_spec(gym.spaces.Box(-1, 1, (3,))).leaf, 2, 5
HEADS = [
    BinsConfig(num_bins=9, hidden=12),
    BinsConfig(num_bins=16, hidden=12, spacing="quantile", temperature=0.6),
    CodesConfig(num_codes=8, hidden=12),
    CodesConfig(num_codes=5, hidden=12, num_levels=3),
]


def _both(config: Any, num: int) -> tuple[Any, Any]:
    """A head of random weights, whose choices depend on each other, and its twin."""
    generator = torch.Generator().manual_seed(0)
    head = config.build(LEAF, D, CHUNK, generator=generator)
    head.fit_labels(torch.rand(200, CHUNK, 3, generator=generator) * 2 - 1, 0)
    with torch.no_grad():
        head.nade.embedding.normal_(generator=generator)
    arrays = {f"head.{name}": value.numpy() for name, value in head.state_dict().items()}
    return head, bound(config.numpy_twin(LEAF, CHUNK), arrays, D, tiling(num))


def _tiles(context: np.ndarray) -> np.ndarray:
    return tiling(len(context)).cut(np.concatenate([context, np.ones((len(context), 1), np.float32)], 1))


@pytest.mark.parametrize("config", HEADS, ids=str)
def test_a_twin_equals_its_head(config: Any) -> None:
    """CORRECTNESS 5; 19 rows: the second tile is not full."""
    num, rng = 19, np.random.default_rng(0)
    head, twin = _both(config, num)
    context, noise = 2 * rng.standard_normal((num, D), np.float32), rng.random((num, head.noise_size), np.float32)
    unbound = config.numpy_twin(LEAF, CHUNK)
    assert (unbound.noise_kind, unbound.noise_size) == (head.noise_kind, head.noise_size)
    for drawn in (None, noise):
        given = Context(pooled_BD=torch.from_numpy(context))
        expected = head.point(given) if drawn is None else head.sample_from(given, torch.from_numpy(drawn))
        np.testing.assert_allclose(twin(_tiles(context), drawn), expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("config", [HEADS[0], HEADS[3]], ids=str)
def test_a_row_depends_neither_on_its_neighbours_nor_on_its_place(config: Any) -> None:
    """CORRECTNESS 5: bit for bit."""
    num, rng = 32, np.random.default_rng(0)
    head, twin = _both(config, num)
    context, noise = rng.standard_normal((num, D), np.float32), rng.random((num, head.noise_size), np.float32)
    first, order = twin(_tiles(context), noise), rng.permutation(num)
    assert np.array_equal(twin(_tiles(context[order]), noise[order]), first[order])


def test_weights_of_another_head_are_refused() -> None:
    for config, name in ((HEADS[0], "head.edges"), (HEADS[3], "head.codes"), (HEADS[0], "head.nade.weight")):
        head, _ = _both(config, 4)
        arrays = {f"head.{name}": value.numpy() for name, value in head.state_dict().items()}
        with pytest.raises(InputError, match=rf"policy weights {name}: found \(2,\), expected"):
            bound(config.numpy_twin(LEAF, CHUNK), arrays | {name: np.ones(2)}, D, tiling(4))
        del arrays[name]
        with pytest.raises(InputError, match=rf"policy weights {name}: found nothing"):
            bound(config.numpy_twin(LEAF, CHUNK), arrays, D, tiling(4))
