import numpy as np

from distil.draws import SlotDraws
from distil.seeding import generator


def draws(num, *, idle=0.0):
    return SlotDraws(lambda rng: rng.random((4, 2)), num, "coins", idle=idle)  # blocks of four steps


def test_an_episodes_values_are_those_of_its_seeds_stream():
    """CORRECTNESS 5: in any slot, whatever was drawn in it before, and over several blocks."""
    expected = generator(7, "coins").random((11, 2))
    for slot, num, before in ((0, 1, 0), (2, 3, 1), (1, 5, 6)):
        source = draws(num)
        source.begin(slot, 5)
        for _ in range(before):
            source.take()
        source.begin(slot, 7)
        np.testing.assert_array_equal([source.take()[slot] for _ in range(11)], expected)


def test_only_the_streams_of_the_mask_advance():
    source = draws(2)
    source.begin(0, 7)
    source.begin(1, 7)
    for _ in range(6):
        source.take(np.array([True, False]))
    values, expected = source.take(), generator(7, "coins").random((8, 2))
    np.testing.assert_array_equal(values, expected[[6, 0]])


def test_slots_without_an_episode_are_idle_and_slots_are_added_on_demand():
    source = draws(1, idle=0.5)
    for _ in range(9):  # longer than a block
        assert (source.take() == 0.5).all()
    source.begin(3, 7)
    assert len(source) == 4
    values = source.take()
    assert (values[:3] == 0.5).all()
    np.testing.assert_array_equal(values[3], generator(7, "coins").random(2))


def test_no_slot_at_all():
    assert draws(0).take().shape == (0, 2)
