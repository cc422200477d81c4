import numpy as np
import torch

from distil.nn.choices import drawn


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0, -torch.inf]]).expand(20_000, -1)
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    share = drawn(logits, uniform).bincount(minlength=4) / 20_000
    np.testing.assert_allclose(share, logits[0].softmax(-1), atol=1e-3)
    ends = drawn(logits[:2], torch.tensor([0.0, 1 - 2**-24]))
    assert ends.tolist() == [0, 2]
