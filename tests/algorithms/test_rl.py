from interactionbed import learning_round

from distil.algorithms.rl import RlConfig


def test_it_reads_no_demonstrations() -> None:
    assert RlConfig().parts[1].kind == "environment"
    update = learning_round(RlConfig()).update
    assert update is not None
    assert list(update.streams) == ["agent"]
