import itertools

import numpy as np

from distil.seeding import Purpose, episode_seeds, generator, integer, sequence


def test_named_streams_are_repeatable_and_differ():
    draws = {
        key: generator(*key).integers(1 << 62)
        for key in [(0, "a"), (1, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (0, "a", 1), (0, "a", "1"), (0,)]
    }
    assert len(set(draws.values())) == len(draws)
    assert generator(0, "a").integers(1 << 62) == draws[0, "a"]


def test_integer_fits_a_signed_word():
    values = [integer(0, "x", i) for i in range(200)]
    assert len(set(values)) == 200
    assert all(0 <= value < 1 << 63 for value in values)


def test_sequence_is_numpys():
    assert isinstance(sequence(3, "x"), np.random.SeedSequence)


def test_episode_seeds_of_purposes_are_disjoint():
    seeds = {p: episode_seeds(p, 2000, root=r, names=(i,)) for (i, p), r in zip(enumerate(Purpose), (0, 1, 2), strict=True)}
    for one, other in itertools.combinations(seeds.values(), 2):
        assert not set(one) & set(other)
    assert all(0 <= seed < 1 << 31 for some in seeds.values() for seed in some)
    assert all(seed >> 29 == purpose for purpose, some in seeds.items() for seed in some)


def test_episode_seeds_are_distinct_and_nest():
    many = episode_seeds(Purpose.COLLECT, 3000, root=7)
    assert len(set(many)) == 3000
    assert episode_seeds(Purpose.COLLECT, 20, root=7) == many[:20]
    assert episode_seeds(Purpose.COLLECT, 20, root=8) != many[:20]
    assert episode_seeds(Purpose.COLLECT, 20, root=7, names=(1,)) != many[:20]
