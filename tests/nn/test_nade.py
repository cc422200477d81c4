import torch

from distil.nn.nade import Nade


def _nade() -> Nade:
    nade = Nade(3, 4, 5, 6, torch.Generator().manual_seed(0))
    with torch.no_grad():
        nade.embedding.normal_(generator=torch.Generator().manual_seed(1))
    return nade


def test_choices_one_after_another_see_what_training_sees_at_once() -> None:
    nade, x = _nade(), torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    seen: list[torch.Tensor] = []
    choices, last = nade.choose(x, lambda logits, d: seen.append(logits) or (logits + d).argmax(-1))
    hidden = nade.hidden(x, choices)
    torch.testing.assert_close(nade.logits(hidden), torch.stack(seen, 1))
    torch.testing.assert_close(hidden[:, -1], last)


def test_a_choice_sees_those_before_it_and_no_other() -> None:
    nade, x, choices = _nade(), torch.ones(1, 3), torch.tensor([[1, 2, 3, 4]])
    before = nade.logits(nade.hidden(x, choices))
    for d in range(4):
        other = choices.clone()
        other[0, d] = 0
        after = nade.logits(nade.hidden(x, other))
        assert torch.equal(after[0, : d + 1], before[0, : d + 1])
        assert all(not torch.equal(after[0, later], before[0, later]) for later in range(d + 1, 4))
        hidden = [nade.hidden(x, which, torch.arange(4)[None] == d) for which in (choices, other)]
        assert torch.equal(*hidden)


def test_it_starts_with_independent_choices_of_a_seed() -> None:
    one, two = (Nade(3, 4, 5, 6, torch.Generator().manual_seed(0)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    hidden = one.hidden(torch.ones(2, 3), torch.tensor([[0, 1, 2, 3], [4, 4, 4, 4]]))
    assert torch.equal(hidden[0], hidden[1])
