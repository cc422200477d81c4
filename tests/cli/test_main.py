import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from labelbed import raw_store

from distil.cli.main import cli, main
from distil.errors import InputError, RunError, SupersededError


@pytest.mark.parametrize(
    "command",
    ["", "train", "store", "store view", "experts evaluate", "recipes", "ui", "demo", "collect", "evaluate", "compare"],
)
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


HEAVY = {"torch", "ray", "mlflow", "scipy", "matplotlib", "rich", "sympy"}
LIBRARIES = {"numpy", "gymnasium", "pyarrow", "pydantic"}


@pytest.mark.parametrize(
    ("command", "libraries"),
    [
        (["--help"], set()),
        (["recipes", "list"], {"pydantic"}),
        (["recipes", "show", "cartpole-bc"], LIBRARIES),
        (["experts", "list"], LIBRARIES),
        (["store", "info", "demos"], LIBRARIES),
    ],
)
def test_short_commands_import_nothing_heavy(command: list[str], libraries: set[str], tmp_path: Path) -> None:
    raw_store(tmp_path / "demos", [3])
    code = f"import sys; sys.argv = ['distil', *{command}]\nfrom distil.cli.main import main; main()\n"
    code += f"print(sorted({HEAVY | LIBRARIES - libraries} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_a_run_needs_no_ray_and_searches_for_no_garbage_at_its_end(tmp_path: Path) -> None:
    """What `auto` saves: the imports and the processes of Ray; a single network needs no sympy either."""
    settings = ["data.episodes=1", "learner.num_steps=5", "evaluation.episodes=2", "tracking.enabled=false"]
    code = f"import sys; sys.argv = ['distil', 'train', 'cartpole-bc', *{settings}]\nfrom distil.cli.main import main; main()\n"
    code += "import gc; print(sorted({'ray', 'mlflow', 'sympy'} & set(sys.modules)), gc.get_freeze_count() > 100_000)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] True"
    assert "rollouts: in this process" in done.stderr  # because it is short, or because there is one core


@pytest.fixture
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


EXITS = {
    "no such option": (click.NoSuchOption("--x"), 2),
    "wrong": (InputError("wrong"), 2),
    "broke": (RunError("broke"), 1),
    "taken over": (SupersededError("taken over"), 3),
    "[Errno 28] full: '/x'": (OSError(28, "full", "/x"), 1),
    "interrupted; committed data is kept; rerun the command": (KeyboardInterrupt(), 130),
    "interrupted; committed data": (click.Abort(), 130),
    "KeyError: 'lost'; this is a bug in distil": (KeyError("lost"), 1),
    "ended by sys.exit(0) in the code of the environment": (SystemExit(0), 1),
    "MLflow at postgresql://me:***@host/db": (InputError("MLflow at postgresql://me:hunter22@host/db"), 2),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("message", EXITS)
def test_every_failure_is_one_line_and_with_debug_a_traceback(
    message: str, debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: None
) -> None:
    """Issue 8, number 38: --debug printed `NoneType: None`."""
    error, code = EXITS[message]

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fail)
    monkeypatch.setattr(sys, "argv", ["distil", "train", *["--debug"] * debug, "x"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    shown = capsys.readouterr().err
    assert message.lower() in shown.splitlines()[-1].lower()
    assert shown.splitlines()[-1].startswith("distil: ")
    assert "hunter22" not in shown
    expected = debug or isinstance(error, KeyError)  # what nobody foresaw is shown whole
    assert ("Traceback" in shown and "in fail" in shown) == expected
    assert expected or len(shown.splitlines()) == 1


@pytest.mark.parametrize("is_job", [True, False])
def test_a_job_can_be_interrupted_where_its_cluster_ignores_ctrl_c(
    is_job: bool, monkeypatch: pytest.MonkeyPatch, signals: None
) -> None:
    """A script that starts Ray in the background makes its processes ignore SIGINT; a user's own `nohup` is respected."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if is_job:
        monkeypatch.setenv("RAY_JOB_STOP_SIGNAL", "SIGINT")
    monkeypatch.setattr(sys, "argv", ["distil", "--version"])
    main()
    assert signal.getsignal(signal.SIGINT) is (signal.default_int_handler if is_job else signal.SIG_IGN)


def test_debug_shows_where_a_real_command_failed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "distil", "train", "nothing.yaml", "--debug"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "in load_recipe" in done.stderr
    assert done.stderr.splitlines()[-1] == "distil: nothing.yaml: no such recipe file"


@pytest.mark.parametrize("is_job", [True, False])
def test_a_folder_that_is_removed_meanwhile_is_told(
    is_job: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: None
) -> None:
    """A job's folder goes with Ray on its node: the run ended with `[Errno 2] No such file or directory`."""
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if is_job:
        monkeypatch.setenv("DISTIL_RAY_SESSION", "session_1")

    def fail(*_: object, **__: object) -> None:
        folder.rmdir()
        try:
            Path("runs").resolve()
        except OSError as error:
            raise RunError("Ray: the cluster cannot be used") from error

    monkeypatch.setattr(cli, "main", fail)
    monkeypatch.setattr(sys, "argv", ["distil", "train", "x"])
    expected = "submit the command again (a run with a name continues)" if is_job else "run the command in a folder that exists"
    for _ in ("gone meanwhile", "gone before"):
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "folder has been removed" in line
        assert line.endswith(expected)


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m distil recipes schema | head -c 10"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("command", [[], ["recipes"], ["store"]])
def test_a_group_without_a_command_shows_its_help(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "distil", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: distil ")
    assert len(done.stderr.splitlines()) > 5


def test_the_demos_options_have_the_demos_own_defaults() -> None:
    import inspect

    from distil.cli.main import demo
    from distil.demo import EPISODES, run_demo

    own, options = inspect.signature(run_demo).parameters, {option.name: option for option in demo.params}
    for name, option in (("seed", "seed"), ("num_seeds", "seeds"), ("steps", "steps")):
        assert options[option].default == own[name].default
    assert f"[default: {', '.join(map(str, EPISODES))}]" in (getattr(options["episodes"], "help", None) or "")
