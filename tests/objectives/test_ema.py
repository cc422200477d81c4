import pytest
import torch

from distil.objectives.ema import Average


def test_follows_the_recurrence_with_the_warmed_up_decay():
    value, average, expected = torch.zeros(3), Average({"w": torch.zeros(3)}, 0.5), torch.zeros(3)
    for n in range(30):
        value += 1
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
        average.update({"w": value})
        torch.testing.assert_close(average.tensors["w"], expected)
    assert average.num_updates == 30
    assert average.decay() == 0.5


def test_starts_at_a_copy():
    value = torch.ones(2)
    average = Average({"w": value}, 0.9)
    value += 1
    assert average.tensors["w"].tolist() == [1, 1]


def test_ema_counter_is_part_of_the_state():
    """CORRECTNESS 26: without the counter the decay would start anew."""
    first, second = (Average({"w": torch.zeros(1)}, 0.999) for _ in range(2))
    for _ in range(50):
        first.update({"w": torch.ones(1)})
    second.load(first.tensors, first.num_updates)
    assert second.decay() == first.decay() == pytest.approx(51 / 60)
