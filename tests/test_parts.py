import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rundatabed import own, train

from distil import parts
from distil.config import to_yaml
from distil.errors import InputError, SupersededError
from distil.rundir import RunDir
from distil.session import Session
from distil.tracking import NullTracker


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no GPU"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SupersededError("taken over"), "KILLED"),
        (SystemExit(), "KILLED"),
    ],
)
def test_what_ends_a_run_before_its_first_round_is_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    """The run stayed RUNNING in MLflow if the learner could not be made."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(parts, "make_learner", refuse)
    with pytest.raises(type(error)):
        train(own(tmp_path, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"}))
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [(status,)]


def test_the_parts_are_closed_whatever_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    for owner, name in (("distil.rundata.data.RunData.close", "data"), ("distil.learners.local.LocalLearner.close", "learner")):
        monkeypatch.setattr(owner, lambda self, name=name: closed.append(name))
    settings = own(tmp_path)
    rundir = RunDir.create(Path(settings.runs), settings.name, to_yaml(settings))
    with Session(settings) as session, pytest.raises(ZeroDivisionError):
        fail(settings, rundir, session)
    assert closed == ["learner", "data"]


def fail(settings, rundir, session) -> None:
    with parts.assemble(settings, rundir, session, NullTracker()) as opened:
        assert opened.learner.policy.version == 0
        raise ZeroDivisionError
