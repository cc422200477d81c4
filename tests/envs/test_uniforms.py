import numpy as np

from distil.envs.uniforms import first_uniform


def test_the_numbers_are_those_of_numpys_generators():
    """CORRECTNESS 5: bit by bit."""
    seeds = [0, 1, 2**31 - 1, 2**32 - 1, *np.random.default_rng(1).integers(1 << 32, size=500).tolist()]
    want = [np.random.Generator(np.random.PCG64(seed)).uniform(-0.05, 0.05, 4) for seed in seeds]
    np.testing.assert_array_equal(first_uniform(seeds, -0.05, 0.05, 4), want)
    np.testing.assert_array_equal(first_uniform(seeds[5:6], -0.05, 0.05, 4), want[5:6])
