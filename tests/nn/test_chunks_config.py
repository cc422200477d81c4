import pytest

from distil.config import validate
from distil.errors import InputError
from distil.nn.chunks_config import ChunkMlpConfig


def test_a_typo_is_named() -> None:
    with pytest.raises(InputError, match="widht"):
        validate(ChunkMlpConfig, {"widht": 3}, "policy.head.network")
