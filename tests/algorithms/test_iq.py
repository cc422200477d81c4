import pytest
from interactionbed import learning_round
from pydantic import ValidationError

from distil.algorithms.iq import IqConfig
from distil.algorithms.sqil import SqilConfig
from distil.objectives.rl_config import SacConfig, SoftQConfig
from distil.plans import StreamPlan


@pytest.mark.parametrize("loss", ["iq", "ls_iq"])
def test_the_loss_is_the_steps(loss: str) -> None:
    config = IqConfig(step=SoftQConfig(loss=loss))
    assert config.objective.step == config.step
    update = learning_round(config).update
    assert update is not None
    assert update.streams == {"agent": StreamPlan(source="agent"), "demos": StreamPlan()}


def test_another_loss_is_refused_with_what_to_set() -> None:
    with pytest.raises(ValidationError, match=r"step\.loss=td is not a loss of iq; set step\.loss=iq or ls_iq"):
        IqConfig(step=SacConfig())
    with pytest.raises(ValidationError, match=r"step\.loss=iq is not a loss of sqil; set step\.loss=td"):
        SqilConfig(step=SoftQConfig(loss="iq"))
