import pytest

from distil.config import validate
from distil.errors import InputError
from distil.learners.config import LearnerConfig


def test_early_stopping_needs_held_out_episodes():
    with pytest.raises(InputError, match="patience needs held-out episodes: set validation_fraction"):
        validate(LearnerConfig, {"patience": 3})
    validate(LearnerConfig, {"patience": 3, "validation_fraction": 0.1})


def test_a_batch_is_divided_among_the_learners():
    with pytest.raises(InputError, match="batch_size 100 isn't divisible by num_learners 3"):
        validate(LearnerConfig, {"num_learners": 3, "batch_size": 100})


def test_a_misspelt_optimiser_key_is_named():
    with pytest.raises(InputError, match="did you mean learning_rate"):
        validate(LearnerConfig, {"learning_rat": 1e-3})
