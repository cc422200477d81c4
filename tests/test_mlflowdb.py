"""With the real MLflow, in processes of their own: it is imported once."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from distil.mlflowdb import sqlite_file

RECORD = """
from pathlib import Path
from distil.tracking import TrackingConfig
TrackingConfig().check('x')
Path('run').mkdir()
tracker = TrackingConfig().build('x', Path('run'))
tracker.start('a', {'p': 1}); tracker.log({'loss': 1.0}, 0); tracker.finish()
"""
PLAIN = "from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///plain.db').search_experiments()"


def python(code: str, folder: Path, cache: Path) -> str:
    folder.mkdir(exist_ok=True)
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONHASHSEED": "0"}  # MLflow writes a set into a table's definition
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(path: Path) -> list[tuple[object, ...]]:
    """Return what tells databases apart. The order of a table's constraints is of no importance, and differs."""
    with closing(sqlite3.connect(path)) as database:
        version = database.execute("SELECT 'version', version_num FROM alembic_version").fetchall()
        found = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
    lines = [sorted(line.strip().rstrip(",") for line in (sql or "").splitlines()) for *_, sql in found]
    return [*version, *((*names, sql) for (*names, _), sql in zip(found, lines, strict=True))]


def experiments(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT name, artifact_location FROM experiments ORDER BY 1").fetchall()


def test_a_copied_database_is_the_one_that_mlflow_makes(tmp_path: Path) -> None:
    """The first folder makes the copy, the second one uses it, and nothing of the first folder is in it."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        python(RECORD, folder, tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "distil").iterdir()
    python(PLAIN, tmp_path / "plain", tmp_path / "cache")
    assert tables(kept) == tables(first / "mlflow.db") == tables(second / "mlflow.db") == tables(tmp_path / "plain/plain.db")
    assert experiments(kept) == []
    assert [name for name, _ in experiments(second / "mlflow.db")] == ["Default", "x"]
    assert all(str(first) not in place for _, place in experiments(second / "mlflow.db"))
    assert not [path for path in second.iterdir() if path.name not in ("mlflow.db", ".mlflow.db.lock", "run")]


def test_without_a_cache_mlflow_makes_the_database_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    python(RECORD, tmp_path / "run", tmp_path / "file")
    assert [name for name, _ in experiments(tmp_path / "run/mlflow.db")] == ["Default", "x"]


def test_mlflow_stays_whole_for_the_users_own_code(tmp_path: Path) -> None:
    """Recording a run leaves all of MLflow to the user's code in the same process, with data frames and models."""
    code = RECORD + "import mlflow.pyfunc; print(mlflow.data.from_pandas.__name__)"
    assert python(code, tmp_path / "own", tmp_path / "cache") == "from_pandas\n"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////data/x.db?timeout=5", "/data/x.db"),
        ("sqlite+pysqlite:///a/b.db", "a/b.db"),
        ("sqlite:///file:/data/x.db?uri=true", "/data/x.db"),
        ("sqlite:///:memory:", None),
        ("postgresql://host/db", None),
    ],
)
def test_the_file_of_a_database(uri: str, path: str | None) -> None:
    assert sqlite_file(uri) == (Path(path) if path else None)


def test_ctrl_c_interrupts_what_waits(tmp_path: Path) -> None:
    """After MLflow's imports, Ctrl-C left a process waiting for its child."""
    code = (
        "import signal, subprocess; from distil.mlflowdb import connect; connect('sqlite:///x.db')\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)\n"
        "try: print('ready', flush=True); child.wait()\nexcept KeyboardInterrupt: print('interrupted')\nfinally: child.kill()"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.communicate(timeout=60)[0] == "interrupted\n"
        finally:
            process.kill()
