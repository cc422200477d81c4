import pytest
from interactionbed import learning_round
from pydantic import ValidationError

from distil.algorithms.base import Budget
from distil.algorithms.iq import IqConfig
from distil.algorithms.sqil import SqilConfig
from distil.objectives.rl_config import SacConfig, SoftQConfig
from distil.plans import RoundReport, Spent, StreamPlan


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


def test_offline_it_trains_on_the_demonstrations_and_never_acts() -> None:
    config = IqConfig(offline_updates=700)
    assert not config.needs.acts
    assert config.objective.offline
    algorithm = config.build(Budget(num_demonstrations=5, num_steps=100, num_evaluation_episodes=3, batch_size=128))
    first = algorithm.next_round(None)
    assert first is not None
    assert first.update is not None
    assert (first.update.num_steps, first.update.streams) == (700, {"demos": StreamPlan()})
    report = RoundReport(index=0, snapshot=1, policy_version=1, spent=Spent(demonstrations=5, gradient_steps=700))
    last = algorithm.next_round(report)
    assert last is not None
    assert (last.collect, last.update) == (None, None)
    assert last.evaluate is not None
    assert last.evaluate.num_episodes == 3


def test_ls_iq_is_not_learned_offline() -> None:
    with pytest.raises(ValidationError, match=r"offline_updates needs step\.loss=iq"):
        IqConfig(offline_updates=700, step=SoftQConfig(loss="ls_iq"))
