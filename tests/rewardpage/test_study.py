"""What is looked at, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rewardpagebed import run_of, study_of

from distil import api
from distil.errors import InputError
from distil.rewardpage.study import study
from distil.rewards.ref import save_reward


def test_a_table_is_shown_over_its_states() -> None:
    found = study_of("grid")
    assert found.slice is None
    assert found.coverage == "100 steps of 2 episodes of demonstrations"
    assert [line.number for line in found.lines] == [0, 1]
    ((source, value),) = found.correlations
    assert source == "demonstrations"
    assert value > 0.9
    assert found.to_json()["reward"]["kind"] == "tabular"


def test_numbers_are_cut_and_both_kinds_of_episodes_shown() -> None:
    found = study_of("pendulum")
    assert found.states is None
    assert found.slice.names[1] == "obs[2]"
    assert [line.source for line in found.lines] == ["demonstrations"] * 2 + ["the run's own policies"] * 2
    steps = np.concatenate([line.true_T for line in found.lines])
    assert steps.mean() == pytest.approx(0, abs=1e-6)
    assert steps.std() == pytest.approx(1, abs=1e-6)


def test_a_run_without_a_reward_is_refused() -> None:
    with pytest.raises(InputError, match=r"the run has no reward: algorithm\.kind=bc"):
        study(run_of("clone"))


def test_a_dimension_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"reads no obs\[7\]"):
        study(run_of("pendulum"), "obs[0],obs[7]")


def test_a_constant_reward_is_refused(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_of("grid"), tmp_path / "grid"))
    ref = api.open_run(copy).reward().ref
    save_reward(
        replace(ref, arrays={**ref.arrays, "model.table": np.full_like(ref.arrays["model.table"], 2.0)}), copy / "reward"
    )
    with pytest.raises(InputError, match=r"the reward is 2 in all 100 steps .* a constant reward explains nothing"):
        study(copy)
