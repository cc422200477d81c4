import sys
from pathlib import Path
from subprocess import PIPE, Popen, run

import pytest
from trackingbed import rows

from distil.config import validate
from distil.errors import InputError
from distil.tracking import NullTracker, TrackingConfig
from distil.tracking.outbox import Outbox


def test_the_address_is_that_of_the_configuration_then_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, redacted = TrackingConfig(uri="postgresql://me:hunter22@db/x"), TrackingConfig(uri="postgresql://me:***@db/x")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert TrackingConfig().address() == "sqlite:///mlflow.db"
    assert whole.address() == whole.uri
    with pytest.raises(InputError, match=r"passwords are not saved: give .*tracking\.uri or in .* MLFLOW_TRACKING_URI"):
        redacted.address()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:other@db/x")
    assert whole.address() == whole.uri
    assert TrackingConfig().address() == redacted.address() == "postgresql://me:other@db/x"
    assert TrackingConfig(enabled=False, uri=redacted.uri).address() is None


def test_to_record_for_another_process_to_send_needs_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    redacted = TrackingConfig(uri="postgresql://me:***@db/x")
    tracker = redacted.build("x", tmp_path, sends=False)
    tracker.start("a", {})
    tracker.finish()
    first = Outbox(tmp_path).first()
    assert first is not None
    assert first["to"] == redacted.uri
    with pytest.raises(InputError, match="passwords are not saved"):
        redacted.build("x", tmp_path)


def test_disabled_tracking_checks_and_records_nothing(tmp_path: Path) -> None:
    config = validate(TrackingConfig, {"enabled": False, "uri": "nonsense://x"})
    config.check("x")
    assert isinstance(config.build("x", tmp_path), NullTracker)


def test_a_check_makes_the_experiment(uri: str) -> None:
    from mlflow.tracking import MlflowClient

    TrackingConfig(uri=uri, experiment="mine").check("recipe")
    assert MlflowClient(uri).get_experiment_by_name("mine") is not None
    assert MlflowClient(uri).get_experiment_by_name("recipe") is None


def test_mlflow_is_imported_only_when_a_run_starts_and_not_for_a_server_that_is_away(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from distil.tracking import TrackingConfig\n"
        "config = TrackingConfig(uri='http://127.0.0.1:1'); config.check('x')\n"
        "tracker = config.build('x', Path(sys.argv[1])); tracker.start('a', {}); tracker.log({'loss': 1}, 0)\n"
        "tracker.finish(); print('mlflow' in sys.modules)"
    )
    assert run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_new_database_is_made_silently(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from distil.tracking import TrackingConfig\n"
        "t = TrackingConfig().build('x', Path()); t.start('a', {'p': 1}); t.log({'loss': 1.0}, 0); t.finish()"
    )
    done = run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert rows(tmp_path / "mlflow.db", "SELECT name, status FROM runs") == [("a", "FINISHED")]


def test_first_runs_at_once_share_a_new_database(tmp_path: Path) -> None:
    """Issue 8, number 20: of three first runs in a fresh folder two died in MLflow's migrations."""
    code = (
        "import sys; from pathlib import Path; from distil.tracking import TrackingConfig; import mlflow.tracking\n"
        "print('ready', flush=True); sys.stdin.readline(); Path(sys.argv[1]).mkdir()\n"
        "t = TrackingConfig().build('x', Path(sys.argv[1]))\n"
        "t.start(sys.argv[1], {'p': 1}); t.log({'loss': 1.0}, 0); t.finish()"
    )
    processes = [
        Popen([sys.executable, "-c", code, str(number)], cwd=tmp_path, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # all have imported MLflow
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate() for process in processes] == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]
    found = rows(
        tmp_path / "mlflow.db", "SELECT r.name, e.name FROM runs r JOIN experiments e USING (experiment_id) ORDER BY 1"
    )
    assert found == [("0", "x"), ("1", "x"), ("2", "x")]
