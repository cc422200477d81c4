"""A user's own parts, in a package outside the repository, run by `distil train`; broken ones are refused before the start."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import distil
from distil.cli.main import main

HERE = Path(__file__).parent
FAULTS = {
    "algorithm": {
        "AlgorithmWithoutNextRound": "has no method next_round",
        "AlgorithmThatRaises": "next_round failed: AttributeError: 'NoneType' object has no attribute 'index'",
        "AlgorithmOfOtherType": "next_round returned a UpdatePlan, not a distil.plans.Round",
        "AlgorithmOfOtherArguments": "TypeError",
        "Algorithm": "broken has no 'Algorithm'",
    },
    "policy.encoder": {
        "EncoderWithoutForward": "forward",
        "EncoderThatRaises": "forward.*KeyError: 'camera'",
        "EncoderThatReturnsATensor": r"forward returns Tensor; return distil\.heads\.base\.Context",
        "EncoderOfOtherWidth": r"pooled_BD has shape \(3, 32\) for a batch of 3, expected \(3, 33\)",
        "EncoderOfOtherArguments": "TypeError",
        "head": "class",
        "NoHead": "Backbone",
    },
    "policy.head": {
        "HeadWithoutPoint": "point",
        "HeadThatRaises": "loss.*AttributeError: 'HeadLoss' object has no attribute 'pooled'",
        "HeadWhoseLossIsATensor": r"loss returns Tensor; return distil\.heads\.base\.HeadLoss",
        "HeadWhoseLossIsAMean": r"loss_BT has shape \(\) for a batch of 3, expected \(3, 2\)",
        "HeadWhoseLossHasNoGradient": "grad",
        "HeadWhosePointIsFlat": r"point has shape \(3, 2\) for a batch of 3, expected \(3, 2, 1\)",
        "HeadWhoseSampleIsFlat": r"sample_from has shape \(3, 2\) for a batch of 3, expected \(3, 2, 1\)",
        "HeadOfOtherArguments": "TypeError",
        "head": "class",
        "NoHead": "Head",
        "Head2": "broken has no 'Head2'",
    },
    "algorithm.objective": {
        "ObjectiveWithoutLoss": "has no method 'loss'",
        "ObjectiveWithoutBase": "has no 'needs'",
        "ObjectiveThatRaises": "loss failed on random data: KeyError: 'states'",
        "ObjectiveOfOtherShape": r"loss returned the shape \[\], required: \[B\] = \[3\]",
        "ObjectiveOfOtherArguments": "TypeError: .*takes 2 positional arguments but 4 were given",
        "objective": "is no class",
        "Objective": "broken has no 'Objective'",
    },
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder that holds a copy of the package `acme`; what a run writes goes elsewhere."""
    folder = tmp_path / "package"
    shutil.copytree(HERE / "acme", folder / "acme", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def train(package: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Return what `distil train` did in the folder `here` beside the package."""
    here = package.with_name("here")
    here.mkdir()
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-m", "distil", "train", HERE / "recipe.yaml", *overrides]
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)


def test_no_part_is_longer_than_40_lines() -> None:
    for path in (HERE / "acme").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path


def test_a_run_of_the_users_own_parts(package: Path) -> None:
    done = train(package)
    assert done.returncode == 0, done.stderr
    run = distil.open_run(package.with_name("here") / "runs/recipe-001")
    assert run.metrics["eval/normalised"] > 0.9
    assert [report.spent.demonstrations for report in run.reports] == [3, 6, 10]


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in FAULTS.items() for name in names])
def test_a_broken_part_is_named_in_one_line_before_anything_starts(
    part: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(HERE)
    overrides = [f"{part}.kind=import", f"{part}.target=broken:{name}", f"{part}.kwargs={{}}"]
    monkeypatch.setattr(sys, "argv", ["distil", "train", str(HERE / "recipe.yaml"), *overrides])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        main()
    signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert re.fullmatch(rf"distil: [^\n]*broken:{name}[^\n]*{FAULTS[part][name]}[^\n]*\n", shown), shown
    assert list(tmp_path.iterdir()) == []  # neither a run nor a store
