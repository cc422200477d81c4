from collections.abc import Callable

import torch


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
