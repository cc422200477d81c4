"""Tables, plots and videos."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

import matplotlib.image
import numpy as np
import pytest

from distil.errors import RunError
from distil.report import Curve, Score, plot_curves, plot_scores, score_table, table, text, video

EXPERT = Score(name="expert", mean=262.3, low=251.0, high=270.0, normalised=1.0)
RANDOM = Score(name="random", mean=-188.2, low=-210.0, high=-170.0, normalised=0.0)


def bc(num: int, mean: float) -> Score:
    name = f"BC, {num} episodes"
    return Score(
        name=name, mean=mean, low=mean - 20, high=mean + 20, normalised=0.5, num_demonstrations=num, num_transitions=213 * num
    )


def pixels(path: Path) -> np.ndarray:
    return matplotlib.image.imread(path)[..., :3]


def has_colour(image: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(-1) < 0.01).sum() > 50)


def test_score_table_reads_well() -> None:
    out = text(score_table([RANDOM, EXPERT, bc(200, 251.04)], "LunarLander-v3"))
    lines = out.splitlines()
    assert lines[0] == "LunarLander-v3"
    assert "seconds" not in out  # nobody measured them
    assert lines[-1].split() == ["BC,", "200", "episodes", "251.0", "231.0", "to", "271.0", "0.500", "42,600"]
    assert "\N{EN DASH}" in lines[-2]  # the expert has no transitions


def test_scores_of_several_runs_show_their_number_and_the_worst_one() -> None:
    out = text(score_table([Score(name="BC", mean=5.0, low=None, high=None, runs=(7.0, 3.0)), EXPERT]))
    assert "worst" in out
    assert [line.split()[1] for line in out.splitlines()[-2:]] == ["2", "\N{EN DASH}"]
    assert [line.split()[-2] for line in out.splitlines()[-2:]] == ["3.0", "\N{EN DASH}"]  # before the normalised score


def test_a_table_takes_any_columns() -> None:
    out = text(table([{"recipe": "a[b]", "loss": 0.123456}, {"recipe": "c", "loss": None}]))
    assert out.split() == ["recipe", "loss", *out.split()[2:]]
    assert "a[b]" in out
    assert "0.1235" in out
    assert text(table([])) == "\n"


def test_score_plot_shows_methods_expert_and_random(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "scores.png"
    scores = [bc(200, 251.0), bc(2, -35.0), bc(20, 178.0)]
    assert (
        plot_scores({"BC": scores}, path, expert=EXPERT, random=RANDOM, title="LunarLander-v3", subtitle="50 episodes") == path
    )
    image = pixels(path)
    assert image.shape == (800, 1280, 3)
    assert has_colour(image, "#0072B2")
    assert has_colour(image, "#222222")
    assert has_colour(image, "#8A8A8A")


def test_score_plot_of_one_point_and_of_none(tmp_path: Path) -> None:
    plot_scores({"BC": [bc(200, 251.0)]}, tmp_path / "one.png")
    plot_scores({}, tmp_path / "none.png", expert=EXPERT)
    assert has_colour(pixels(tmp_path / "one.png"), "#0072B2")
    assert has_colour(pixels(tmp_path / "none.png"), "#222222")


def test_learning_curves(tmp_path: Path) -> None:
    x = np.arange(1, 20_000, 50)
    curves = {name: Curve(x=x, y=k / x, low=k / x * 0.9, high=k / x * 1.1) for name, k in (("BC", 1.0), ("DAgger", 2.0))}
    image = pixels(plot_curves(curves, tmp_path / "curves.png", ylabel="loss", title="loss", log_y=True))
    assert has_colour(image, "#0072B2")
    assert has_colour(image, "#D55E00")


@pytest.mark.parametrize(
    ("y", "log_y"), [((2e-5, 2.8e-5), True), ((2e-4, 12345.0), True), ((0.3, 0.31), True), ((-1_250_000.0, 3.0), False)]
)
def test_curves_leave_room_for_the_numbers_of_their_axis(tmp_path: Path, y: tuple[float, float], log_y: bool) -> None:
    curves = {"a": Curve(x=[0, 20_000], y=y)}
    image = pixels(plot_curves(curves, tmp_path / "a.png", ylabel="return per episode", title="title", log_y=log_y))
    inked = (image < 0.8).any(axis=2)
    assert not inked[:, :4].any()  # nothing is cut off
    assert not inked[:, -4:].any()
    assert not inked[-4:].any()
    assert not inked[:4].any()
    assert inked[:, :40].any()  # and no room is wasted


def test_plots_leave_no_global_state(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plot_scores({"BC": [bc(2, 1.0)]}, tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


def read(path: Path, width: int, height: int) -> tuple[str, np.ndarray]:
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = run(command, capture_output=True, check=True)
    return done.stderr.decode(), np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def test_video_can_be_read_back(tmp_path: Path) -> None:
    frames = np.zeros((12, 41, 63, 3), np.uint8)  # odd sizes lose a row and a column
    for i, frame in enumerate(frames):
        frame[:, 4 * i : 4 * i + 16] = (250, 120, 10)
    path = video(iter(frames), tmp_path / "videos" / "best.mp4", 25)
    about, got = read(path, 62, 40)
    assert got.shape == (12, 40, 62, 3)
    assert "25 fps" in about
    assert "h264" in about
    assert "yuv420p" in about
    assert np.abs(got.astype(int) - frames[:, :40, :62]).mean() < 6
    assert [p.name for p in path.parent.iterdir()] == ["best.mp4"]


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ([], "no frames"),
        ([np.zeros((8, 8), np.uint8)], r"shape \(8, 8\)"),
        ([np.zeros((8, 8, 3))], "float64"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 10, 3), np.uint8)], r"frame 1 is \(8, 10, 3\)"),
    ],
)
def test_a_failed_video_says_why_and_leaves_no_file(tmp_path: Path, frames: list[np.ndarray], fault: str) -> None:
    with pytest.raises(RunError, match=fault) as caught:
        video(frames, tmp_path / "x.mp4", 30)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_importing_report_is_cheap() -> None:
    heavy = "{'matplotlib', 'rich', 'imageio_ffmpeg', 'torch', 'mlflow'}"
    code = f"import sys, distil.report; print(sorted({heavy} & set(sys.modules)))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_score_of_one_episode_has_no_interval(tmp_path) -> None:
    one = Score(name="BC, 2 episodes", mean=12.0, low=None, high=None, num_demonstrations=2)
    shown = text(score_table([one, EXPERT]))
    assert "\N{EN DASH}" in next(line for line in shown.splitlines() if "BC" in line)
    assert plot_scores({"BC": [one]}, tmp_path / "score.png", expert=EXPERT, random=one).stat().st_size > 0
