import torch

from distil.rewards.saturation import Saturation

GOOD, BAD = torch.ones(8), -torch.ones(8)


def test_a_discriminator_that_is_always_right_is_noted_once_with_its_accuracy() -> None:
    saturation = Saturation()
    for _ in range(3000):
        assert saturation.see(GOOD, BAD) == 1
    assert saturation.notes() == []
    for _ in range(2000):
        saturation.see(GOOD, BAD)
    (note,) = saturation.notes()
    assert "99.7%" in note
    assert saturation.notes() == []


def test_one_that_errs_is_not_noted() -> None:
    saturation = Saturation()
    for _ in range(5000):
        saturation.see(torch.tensor([1.0, 1.0, 1.0, -1.0]), BAD)
    torch.testing.assert_close(saturation.accuracy, torch.tensor(7 / 8), atol=0.01, rtol=0)
    assert saturation.notes() == []


def test_a_resumed_run_does_not_note_it_again() -> None:
    saturation, resumed = Saturation(), Saturation()
    saturation.accuracy.fill_(1.0)
    assert saturation.notes()
    resumed.load_state_dict(saturation.state_dict())
    assert resumed.notes() == []
