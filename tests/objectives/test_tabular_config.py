import pytest

from distil.config import validate
from distil.errors import InputError
from distil.objectives.tabular_config import CausalEntropySettings


@pytest.mark.parametrize(("key", "value"), [("discount", 1.0), ("l2", 0.0), ("tolerance", 0.0), ("max_steps", 0)])
def test_what_would_have_no_solution_is_refused(key: str, value: float) -> None:
    with pytest.raises(InputError, match=key):
        validate(CausalEntropySettings, {key: value})
