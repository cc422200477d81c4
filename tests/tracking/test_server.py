import socket
import traceback
from pathlib import Path

import pytest
from trackingbed import free_port

from distil.errors import InputError
from distil.redaction import redact
from distil.tracking.server import Server


def test_what_can_be_known_to_be_wrong_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad = (
        f"sqlite:///{tmp_path}/file/mlflow.db",
        f"sqlite:///{tmp_path}/none/mlflow.db",
        "nonsense://x",
        "http://",
        "http://host:port",
        "postgresql://",
        "postgresql+none://host/db",
    )
    for uri in bad:
        with pytest.raises(InputError, match=r"set tracking\.enabled=false") as caught:
            Server(uri).check("x")
        assert "\n" not in str(caught.value)
        assert uri in str(caught.value)
    with pytest.raises(InputError, match=f"the folder {tmp_path}/none is not there on {socket.gethostname()}: make it"):
        Server(bad[1]).check("x")


def test_a_server_that_does_not_answer_is_no_wrong_address() -> None:
    server = Server(f"http://127.0.0.1:{free_port()}")
    server.check("x")
    with pytest.raises(OSError, match="refused"):
        server.require_answer(5.0)


def test_behind_a_proxy_only_mlflow_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    Server("http://mlflow.example:5000").require_answer(5.0)


def test_a_password_reaches_no_message(tmp_path: Path) -> None:
    """Issue 8, number 23."""
    for bad in (f"nonsense://me:hunter22@{tmp_path}", "postgresql+none://me:hunter22@host/db", "nonsense://x?token=hunter22"):
        with pytest.raises(InputError, match=r"\*\*\*") as caught:
            Server(bad).check("x")
        assert "hunter22" not in str(caught.value) + Server(bad).name
        assert "hunter22" not in redact("".join(traceback.format_exception(caught.value)))  # what --debug shows


def test_a_deleted_experiment_says_so(uri: str) -> None:
    server = Server(uri)
    server.client.delete_experiment(server.experiment("deleted"))
    with pytest.raises(InputError, match="'deleted' is deleted"):
        Server(uri).check("deleted")


def test_the_name_of_a_database_means_the_same_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Server("sqlite:///mlflow.db").name == f"sqlite:///{tmp_path}/mlflow.db"
    assert Server("sqlite:///file:mlflow.db?uri=true").name == f"sqlite:///file:{tmp_path}/mlflow.db?uri=true"
    assert Server("sqlite:////data/mlflow.db").name == "sqlite:////data/mlflow.db"
    assert Server("http://me:hunter22@host:5000").name == "http://me:***@host:5000"
