from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from storebed import write

from distil.config import validate
from distil.errors import InputError
from distil.store import StoreSpec, WeightConfig
from distil.types import Episode

MakeEpisode = Callable[..., Episode]


def test_a_configuration_weighs_by_round(tmp_path: Path, spec: StoreSpec, make_episode: MakeEpisode) -> None:
    snapshot = write(tmp_path / "some", spec, [make_episode(i, 3, round=i) for i in range(4)])
    assert WeightConfig().apply(snapshot) == (snapshot,)
    assert WeightConfig().is_even
    config = validate(WeightConfig, {"round_decay": 0.5, "intervention": 3})
    (whole,) = config.apply(snapshot)
    assert whole.weights is not None
    assert whole.weights.episode.tolist() == [0.125, 0.25, 0.5, 1.0]
    assert whole.weights.intervention == 3.0
    early, late = config.apply(snapshot.first(2), snapshot.select([3]))  # the newest round is that of both
    assert (early.weights.episode.tolist(), late.weights.episode.tolist()) == ([0.125, 0.25], [1.0])  # type: ignore[union-attr]
    (both,) = config.apply(snapshot.weighted([1, 0, 2, 3], intervention=2.0))  # on top of what there is
    assert both.weights is not None
    assert (both.weights.episode.tolist(), both.weights.intervention) == ([0.125, 0.0, 1.0, 3.0], 6.0)
    (nothing,) = config.apply(snapshot.first(0))
    assert nothing.num_episodes == 0
    for bad in ({"round_decay": 0}, {"round_decay": 1.1}, {"intervention": 0}):
        with pytest.raises(InputError, match="should be"):
            validate(WeightConfig, bad)
