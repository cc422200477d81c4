import numpy as np

from distil.policies.overlap import Overlap


def test_weights_are_those_of_the_paper() -> None:
    """The oldest of the plans that reach a step has weight 1, the next ones exp(-m), exp(-2 m)."""
    plans = np.random.default_rng(0).normal(size=(6, 2, 3, 1)).astype(np.float32)  # step, slot, chunk, action
    overlap = Overlap(2, 3, 0.5)
    for step in range(6):
        if step == 4:
            overlap.begin(1)
        found = overlap.average(plans[step])
        for slot, first in enumerate((0, 4 if step >= 4 else 0)):
            made_at = range(max(first, step - 2), step + 1)
            said = [plans[at, slot, step - at] for at in made_at]
            expected = np.average(said, axis=0, weights=np.exp(-0.5 * np.arange(len(said))))
            np.testing.assert_allclose(found[slot], expected, rtol=1e-5)


def test_the_first_plan_of_an_episode_is_followed_exactly() -> None:
    overlap, plans = Overlap(1, 2, 0.01), np.random.default_rng(0).normal(size=(3, 1, 2, 4)).astype(np.float32)
    for plan in plans:
        overlap.begin(0)
        np.testing.assert_array_equal(overlap.average(plan), plan[:, 0])
