from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweepbed import sweep

from distil import api
from distil.config import to_yaml
from distil.errors import InputError
from distil.session import Session
from distil.store import Store
from distil.sweep.families import families, trial_config
from distil.sweep.prepare import check, measure_baselines, share

SQIL = {"recipe": "cartpole-sqil", "set": {"data.episodes": 2, "learner.num_steps": 5000}}


def prepared(folder: Path, **keys: Any) -> Any:
    config = sweep(runs=str(folder), **keys)
    return config, families(config)


def test_demonstrations_are_collected_once_and_a_run_of_the_seed_finds_them(tmp_path: Path) -> None:
    config, found = prepared(tmp_path)
    with Session(found[0].config) as session:
        check(config, found, session)
        first = share(config, found, session, seed=5)
        store = Store.open(config.folder / "demos")
        version = store.snapshot().version
        assert share(config, found, session, seed=5) == first
        assert store.snapshot().version == version
        assert len(first.lengths) == 3
        run = trial_config(config, found[0].config, {}, where="x", more={"seed": 5, "runs": str(tmp_path / "own")})
        (tmp_path / "run.yaml").write_text(to_yaml(run))
        done = api.train(tmp_path / "run.yaml", session=session)
    assert done.metrics["budget/demonstrations"] == 3
    assert store.snapshot().version == version  # it collected nothing


def test_families_get_a_common_budget(tmp_path: Path) -> None:
    """Labels for cloning and DAgger, demonstrations' and own steps for imitation by interaction."""
    families_ = {**{name: family.model_dump() for name, family in sweep().families.items()}, "sqil": SQIL}
    config, found = prepared(tmp_path, families=families_, budget={"labels": 210, "steps": 500})
    with Session(found[0].config) as session:
        shared = share(config, found, session, seed=0)
    lengths = np.array(shared.lengths)
    assert lengths.sum() >= 210
    num = shared.granted["bc"]["data.episodes"]
    assert lengths[:num].sum() <= 210 < lengths[: num + 1].sum()
    assert shared.granted["dagger"] == {"algorithm.stop.expert_labels": 210}
    assert shared.granted["sqil"] == {"algorithm.steps": 500 - lengths[:2].sum()}


def test_the_first_family_that_cannot_start_is_named(tmp_path: Path) -> None:
    config, found = prepared(tmp_path, families={"bc": {"set": {"learner.device": "cuda"}}})
    with Session(found[0].config) as session, pytest.raises(InputError, match=r"families\.bc: learner\.device"):
        check(config, found, session)
    config, found = prepared(tmp_path, families={"bc": {"set": {"data.episodes": None}}}, budget={"labels": 10})
    with Session(found[0].config) as session, pytest.raises(InputError, match=r"families\.bc: .*no store there"):
        check(config, found, session)


def test_baselines_are_measured_where_trials_look_for_them(tmp_path: Path) -> None:
    config, found = prepared(tmp_path)
    with Session(found[0].config) as session:
        returns = measure_baselines(config, found, session, 3)
    assert set(returns) == {f"{p}/{w}_return_mean" for p in ("tune", "eval") for w in ("expert", "random")}
    assert len(list((config.folder / "baselines").glob("[!.]*"))) == 4
