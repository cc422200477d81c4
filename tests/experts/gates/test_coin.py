import numpy as np
import pytest
from gatebed import CHOICE, leaf, situation

from distil.experts.gates.coin import CoinPlan


def coin(beta, num, begun=True):
    gate = CoinPlan(beta=beta).build(num, leaf(CHOICE))
    for slot in range(num if begun else 0):
        gate.begin(slot, slot)
    return gate


def toss(gate, num, mask=None):
    now, ask = situation([0] * num, [1] * num, [2] * num, mask=mask)
    return gate.choose(now), ask


def test_it_asks_at_every_step():
    """CORRECTNESS 12."""
    plan = CoinPlan(beta=0.5)
    assert plan.labels_all
    assert plan.needs_expert
    choice, ask = toss(coin(0.0, 4), 4)
    assert ask.rows[0].all()
    assert choice.labels.mask.all()
    assert not choice.expert_acts.any()


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
def test_the_expert_acts_in_its_share_of_steps(beta):
    """CORRECTNESS 13: the binomial bound."""
    gate, num, steps = coin(beta, 20), 20, 400
    share = np.mean([toss(gate, num)[0].expert_acts for _ in range(steps)])
    assert abs(share - beta) <= 4 * np.sqrt(beta * (1 - beta) / (num * steps))


def test_it_never_acts_without_an_answer_nor_where_no_episode_has_begun():
    assert toss(coin(1.0, 3), 3, mask=[True, False, True])[0].expert_acts.tolist() == [True, False, True]
    assert not toss(coin(0.999, 3, begun=False), 3)[0].expert_acts.any()


def test_the_coins_are_the_episodes():
    """CORRECTNESS 5: of any slot among any number, and longer than a block."""
    thrown = []
    for slot, num in ((0, 1), (3, 5)):
        gate = coin(0.5, num)
        toss(gate, num)
        gate.begin(slot, 77)
        thrown.append([bool(toss(gate, num)[0].expert_acts[slot]) for _ in range(300)])
    assert thrown[0] == thrown[1]
    gate.begin(slot, 78)
    assert [bool(toss(gate, num)[0].expert_acts[slot]) for _ in range(300)] != thrown[0]
