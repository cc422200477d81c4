import pytest
import torch

from distil.nn.cnn import Cnn


@pytest.mark.parametrize("shape", [(1, 1), (7, 7, 3), (64, 64, 3), (4, 21, 30), (33, 20), (4, 21, 30, 3), (2, 3, 21, 30)])
def test_images_of_any_size_and_layout(shape: tuple[int, ...]) -> None:
    cnn = Cnn(shape, (8, 8), 16, "relu", torch.Generator().manual_seed(0))
    assert cnn(torch.rand(2, *shape)).shape == (2, 16)


def test_channels_first_and_last_see_the_same_image() -> None:
    last = Cnn((10, 12, 3), (4,), 8, "relu", torch.Generator().manual_seed(0))
    first = Cnn((3, 10, 12), (4,), 8, "relu", torch.Generator().manual_seed(0))
    image = torch.rand(2, 10, 12, 3)
    torch.testing.assert_close(last(image), first(image.permute(0, 3, 1, 2)))


def test_stacked_images_are_channels_in_both_layouts() -> None:
    last = Cnn((4, 13, 14, 3), (4,), 8, "relu", torch.Generator().manual_seed(0))
    first = Cnn((4, 3, 13, 14), (4,), 8, "relu", torch.Generator().manual_seed(0))
    flat = Cnn((12, 13, 14), (4,), 8, "relu", torch.Generator().manual_seed(0))
    image = torch.rand(2, 4, 13, 14, 3)
    by_channel = image.permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(last(image), first(by_channel))
    torch.testing.assert_close(last(image), flat(by_channel.flatten(1, 2)))
    assert last(image[:0]).shape == (0, 8)
