import pytest

from distil.config import validate
from distil.errors import InputError
from distil.nn.transformer_config import TransformerSizes


def test_heads_share_the_width() -> None:
    assert validate(TransformerSizes, {"width": 6, "num_heads": 3}).sizes == {"width": 6, "num_layers": 2, "num_heads": 3}
    with pytest.raises(InputError, match="width=10 is no multiple of num_heads=4: change one of them"):
        validate(TransformerSizes, {"width": 10})
