import pytest

from distil.config import Config, validate
from distil.errors import InputError
from distil.nn.chunks_config import ChunkMlpConfig, ChunkNetworkConfig, ChunkTransformerConfig, ChunkUnetConfig


class Holder(Config):
    network: ChunkNetworkConfig = ChunkMlpConfig()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"widht": 3}, "widht"),
        ({"kind": "unet", "channels": [12]}, "network.channels.0"),
        ({"kind": "unet", "channels": []}, "network.channels"),
        ({"kind": "transformer", "width": 10}, "width=10 is no multiple of num_heads=4"),
        ({"kind": "tranformer"}, "did you mean transformer"),
    ],
)
def test_faults_are_named(data: dict, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        validate(Holder, {"network": data})


def test_the_kind_chooses_and_only_a_perceptron_has_a_twin() -> None:
    kinds = {"mlp": ChunkMlpConfig(), "unet": ChunkUnetConfig(), "transformer": ChunkTransformerConfig()}
    for kind, config in kinds.items():
        assert validate(Holder, {"network": {"kind": kind}}).network == config
        assert config.has_twin == (kind == "mlp")
