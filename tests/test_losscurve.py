"""One axis for all updates of a run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from distil import losscurve
from distil.losscurve import LossCurve


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What was drawn."""
    calls: list[dict] = []
    real = losscurve.plot_curves

    def spy(curves, path, **options):
        calls.append({"curves": curves, **options})
        return real(curves, path, **options)

    monkeypatch.setattr(losscurve, "plot_curves", spy)
    return calls


def test_steps_continue_where_the_last_update_ended(tmp_path: Path, drawn: list[dict]) -> None:
    curve = LossCurve()
    for number in range(3):
        for step in (1, 50, 99):
            assert curve.add(step, {"loss": 1 / step, "grad_norm": 3.0}) == 100 * number + step
        curve.finish_update({"train/steps": 100.0, "train/loss": 0.01, "train/validation_loss": 0.02})
    assert curve.plot(tmp_path / "loss.png", "x") == tmp_path / "loss.png"
    (call,) = drawn
    for line in call["curves"].values():
        assert all(a < b for a, b in itertools.pairwise(line.x)), "a zigzag"
    assert call["curves"]["loss"].x[-1] == 300
    assert call["curves"]["validation_loss"].x == [100, 200, 300]
    assert call["marks"] == [100, 200]


def test_a_learner_that_restarts_from_a_checkpoint_goes_back_without_a_zigzag(tmp_path: Path, drawn: list[dict]) -> None:
    curve = LossCurve()
    for step in (1, 50, 99, 30, 60):
        curve.add(step, {"loss": 1.0})
    curve.plot(tmp_path / "loss.png", "x")
    assert drawn[0]["curves"]["loss"].x == [1, 30, 50, 60, 99]


def test_each_loss_has_its_own_colour_in_every_run(tmp_path: Path, drawn: list[dict]) -> None:
    curve = LossCurve()
    for step in (1, 2):
        curve.add(step, {"validation_loss": 1.0, "loss": 1.0})
    curve.plot(tmp_path / "loss.png", "x")
    assert list(drawn[0]["curves"]) == ["loss", "validation_loss"]  # the order gives the colours


def test_an_update_that_stopped_early_ends_where_it_stopped() -> None:
    curve = LossCurve([{"train/steps": 40.0, "train/loss": 0.5}, {"eval/return_mean": 1.0}])
    assert curve.num_steps == 40
    assert curve.add(1, {"loss": 0.4}) == 41


def test_one_point_is_no_curve(tmp_path: Path) -> None:
    assert LossCurve([{"train/steps": 40.0, "train/loss": 0.5}]).plot(tmp_path / "loss.png", "x") is None
    assert not (tmp_path / "loss.png").exists()
