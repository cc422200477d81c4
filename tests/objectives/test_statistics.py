from typing import Any, cast

import numpy as np

from distil.objectives.statistics import fit_policy
from distil.store.moments import moments_of
from distil.store.order import SampleSource


class Columns:
    """A source of which only the statistics are asked."""

    def __init__(self, **columns: Any) -> None:
        self.columns = columns

    def statistics(self, names: list[str]) -> Any:
        return moments_of({name: self.columns[name] for name in names})


def test_statistics_are_those_of_the_source_and_constant_dimensions_are_named(make_policy):
    policy, rows = make_policy(), np.random.default_rng(3).normal(2.0, 5.0, (40, 3)).astype("f4")
    assert fit_policy(policy, cast(SampleSource, Columns(obs=rows))) == []
    np.testing.assert_allclose(policy.encoder.features.mean, rows.mean(0), rtol=1e-5)
    rows[:, 1] = 7
    (note,) = fit_policy(policy, cast(SampleSource, Columns(obs=rows)))
    assert note.startswith("1 observation dimensions vary by less than policy.std_floor=")
    assert "obs[1]; lower it if they matter" in note
