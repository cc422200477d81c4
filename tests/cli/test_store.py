from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gymnasium import spaces

from distil import api
from distil.cli.main import cli
from distil.interchange.mp4 import Mp4Reader
from distil.spaces import action_spec, observation_spec
from distil.store import Store, StoreSpec
from distil.types import Episode


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


def test_the_distribution_is_printed_and_plotted(store: Path, tmp_path: Path) -> None:
    shown = run("view", str(store), "--plot", str(tmp_path / "spread.png"), "--version", "1")
    assert "return: mean 500" in shown
    assert (tmp_path / "spread.png").stat().st_size > 5000


def test_images_become_a_video(tmp_path: Path) -> None:
    image = spaces.Box(0, 255, (20, 31, 3), np.uint8)
    spec = StoreSpec(observation=observation_spec(image), action=action_spec(spaces.Discrete(2)))
    made = Store.create(tmp_path / "images", spec)
    writer = made.writer("w")
    steps, marks = np.zeros(6, np.int64), np.ones(6, np.uint8)
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.full((20, 31, 3), 30, np.uint8)
    writer.add(
        Episode(
            observations={"obs": images},
            actions=steps,
            rewards=np.ones(6),
            terminated=True,
            truncated=False,
            expert_actions=steps,
            labelled=marks,
            acted_by_expert=marks,
            uid="a",
        )
    )
    made.commit([entry for entry in (writer.seal(),) if entry])
    run("view", str(made.path), "--video", str(tmp_path / "episode.mp4"), "--fps", "10")
    with Mp4Reader(tmp_path / "episode.mp4") as film:
        shown = film.take(7)
        assert film.take(1).size == 0
    assert shown.shape == (7, 20 * 12 + 22, 31 * 12, 3)  # with a caption
    assert [round(frame[0, 0, 0] / 30) for frame in shown] == list(range(7))


def test_an_episode_is_printed_and_plotted(store: Path, tmp_path: Path) -> None:
    shown = run("view", str(store), "--episode", "1", "--steps", "5", "--plot", str(tmp_path / "episode.png"))
    assert "reward" in shown
    assert (tmp_path / "episode.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="has 2 episodes"):
        run("view", str(store), "--episode", "2")
