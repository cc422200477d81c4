from collections.abc import Callable

import pytest
import torch

SEQUENCES = [{"kind": "gru", "width": 8}, {"kind": "transformer", "width": 8, "num_heads": 2}]


def test_one_hot_binary_and_images_are_as_documented(world: Callable) -> None:
    features = world("discrete").policy.encoder.features
    assert features({"obs": torch.tensor([[-1], [2]])}).tolist() == [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]
    features = world("multi_discrete").policy.encoder.features
    one = features({"obs": torch.tensor([[[[1, 0], [3, 4]]]])})
    assert one.flatten().tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    features = world("image", encoder={"kind": "mlp"}).policy.encoder.features
    assert float(features({"obs": torch.full((1, 1, 9, 8, 3), 255, dtype=torch.uint8)}).max()) == 1


def test_the_order_of_the_horizon_matters(world: Callable) -> None:
    for observation in ("vector", "image", "nested"):
        made = world(observation, obs_horizon=2)
        batch = made.batch(3)
        flipped = {name: value.flip(1) for name, value in batch.observations.items()}
        encoder = made.policy.encoder
        context = encoder(batch.observations)
        assert context.tokens_BLD is None
        assert context.pooled_BD.shape == (3, encoder.num_out)
        assert not torch.allclose(context.pooled_BD, encoder(flipped).pooled_BD)


def test_deviations_are_in_the_leaf_s_own_unit_and_shape(world: Callable) -> None:
    made = world("nested")
    features, checked = made.policy.encoder.features, 0
    for part in features.parts:
        if part.leaf.kind == "box":
            deviation = features.deviation(part.leaf.name)
            inverse = features.inv_std[part.offset : part.offset + part.size]
            assert deviation.shape == part.leaf.shape
            torch.testing.assert_close(deviation.flatten() * inverse, torch.ones(part.size))
            checked += 1
    assert checked


@pytest.mark.parametrize("encoder", SEQUENCES, ids=lambda encoder: encoder["kind"])
@pytest.mark.parametrize("observation", ["vector", "image", "nested"])
def test_sequences_give_a_token_a_frame(world: Callable, encoder: dict, observation: str) -> None:
    """The newest one is the context; earlier ones don't know it."""
    made = world(observation, encoder=encoder, obs_horizon=3)
    seen = made.batch(4).observations
    context = made.policy.encoder(seen)
    assert context.tokens_BLD.shape == (4, 3, made.policy.encoder.num_out)
    assert torch.equal(context.pooled_BD, context.tokens_BLD[:, -1])
    later = {name: torch.cat([value[:, :2], value[:, :1]], 1) for name, value in seen.items()}
    others = made.policy.encoder(later).tokens_BLD
    torch.testing.assert_close(context.tokens_BLD[:, :2], others[:, :2], rtol=0, atol=1e-6)
    assert not torch.allclose(context.tokens_BLD[:, 2], others[:, 2])


@pytest.mark.parametrize("encoder", [{"kind": "resmlp", "width": 8}, *SEQUENCES], ids=lambda encoder: encoder["kind"])
def test_each_leaf_and_each_weight_counts(world: Callable, encoder: dict) -> None:
    """Images go through convolutions, and only through them."""
    made = world("nested", encoder=encoder, obs_horizon=2)
    own, seen = made.policy.encoder, made.batch(6).observations
    assert not any(part.leaf.is_image for part in own.features.parts)
    pooled_BD = own(seen).pooled_BD
    for name, value in seen.items():
        assert not torch.allclose(own({**seen, name: value.flip(0)}).pooled_BD, pooled_BD), name
    pooled_BD.square().sum().backward()
    assert all(bool(weight.grad.any()) for weight in own.parameters())
