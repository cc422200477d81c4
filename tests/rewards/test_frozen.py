from dataclasses import replace

import numpy as np
import pytest
import torch
from learnedbed import KINDS, learned

from distil.errors import InputError
from distil.rewards.frozen import reward_of


@pytest.mark.parametrize("kind", KINDS)
def test_plain_data_and_back(kind: str) -> None:
    again = reward_of(learned(kind)).ref(learned(kind).version)
    assert again.spec == learned(kind).spec
    assert all(np.array_equal(again.arrays[name], value, equal_nan=True) for name, value in learned(kind).arrays.items())


def test_arrays_that_do_not_fit_are_named() -> None:
    ref = learned("airl")
    name, *_ = ref.arrays
    for arrays in ({**ref.arrays, name: np.zeros(9)}, {**ref.arrays, "more": np.zeros(9)}):
        with pytest.raises(InputError, match=r"reward weights .*: found \(9,\), expected"):
            reward_of(replace(ref, arrays=arrays))


def test_it_changes_with_nothing() -> None:
    frozen = reward_of(learned("ml_irl"))  # with spectral normalisation, whose power iterations move in training
    assert not any(value.requires_grad for value in frozen.parameters())
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    seen = {"obs": torch.randn(5, 1, 3)}
    first = frozen(seen, torch.zeros(5, 1, 2), seen)
    assert torch.equal(frozen(seen, torch.zeros(5, 1, 2), seen).rewards_B, first.rewards_B)
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
