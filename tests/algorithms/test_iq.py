import pytest
from interactionbed import learning_round

from distil.algorithms.iq import IqConfig
from distil.objectives.rl_config import SoftQConfig
from distil.plans import StreamPlan


@pytest.mark.parametrize("loss", ["iq", "ls_iq"])
def test_the_loss_is_the_steps(loss: str) -> None:
    config = IqConfig(step=SoftQConfig(loss=loss))
    assert config.objective.step == config.step
    update = learning_round(config).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent"), "demos": StreamPlan()}
