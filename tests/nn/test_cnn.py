import pytest
import torch

from distil.nn.cnn import Cnn


@pytest.mark.parametrize("shape", [(1, 1), (7, 7, 3), (64, 64, 3), (4, 21, 30), (33, 20)])
def test_images_of_any_size_and_layout(shape: tuple[int, ...]) -> None:
    cnn = Cnn(shape, (8, 8), 16, "relu", torch.Generator().manual_seed(0))
    assert cnn(torch.rand(2, *shape)).shape == (2, 16)


def test_channels_first_and_last_see_the_same_image() -> None:
    last = Cnn((10, 12, 3), (4,), 8, "relu", torch.Generator().manual_seed(0))
    first = Cnn((3, 10, 12), (4,), 8, "relu", torch.Generator().manual_seed(0))
    image = torch.rand(2, 10, 12, 3)
    torch.testing.assert_close(last(image), first(image.permute(0, 3, 1, 2)))
