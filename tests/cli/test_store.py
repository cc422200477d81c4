from pathlib import Path

import pytest
from click.testing import CliRunner

from distil import api
from distil.cli.main import cli


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "demos"
    api.collect("cartpole-bc", {"data.path": str(path), "data.episodes": 2, "rollouts.num_workers": 0})
    return path


def run(*words: str) -> str:
    result = CliRunner().invoke(cli, ["store", *words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_info_and_verify(store: Path) -> None:
    assert '"episodes": 2' in run("info", str(store), "--json")
    assert "no faults" in run("verify", str(store))


def test_an_episode_is_printed_and_drawn(store: Path, tmp_path: Path) -> None:
    shown = run("view", str(store), "--episode", "1", "--steps", "5", "--plot", str(tmp_path / "episode.png"))
    assert "reward" in shown
    assert (tmp_path / "episode.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="has 2 episodes"):
        run("view", str(store), "--episode", "2")
