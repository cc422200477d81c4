import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jobbed import VERSION, serving

from distil.errors import InputError
from distil.jobs.client import Dashboard, RefusedError, UnreachableError


def as_ray(request: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Answer as Ray's dashboard with a token does."""
    token = headers.get("Authorization")
    if token is None:
        return 401, b"Unauthorized: Missing authentication token"
    return (200, VERSION) if token == "Bearer right" else (403, b"Forbidden: Invalid authentication token")


def test_a_missing_and_a_wrong_token_are_told_apart() -> None:
    with serving(as_ray) as url:
        with pytest.raises(InputError, match="asks for a token, and none was found: set RAY_AUTH_MODE=token"):
            Dashboard(url).probe()
        with pytest.raises(InputError, match="has another token") as error:
            Dashboard(url, "wrong-secret").probe()
        assert "wrong-secret" not in str(error.value)
        Dashboard(url, "right").probe()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>hello</html>", "something else than Ray's dashboard"),
        (200, [1], "something else than Ray's dashboard"),
        (404, b"not found", "HTTP status 404"),
        (302, b"", "redirects to http://127.0.0.1:1/login"),
        (200, VERSION | {"ray_version": "2.9.3"}, "runs Ray 2.9.3; distil needs 2.60"),
    ],
)
def test_another_server_is_not_taken_for_ray(status: int, body: Any, message: str) -> None:
    with serving(lambda *_: (status, body)) as url, pytest.raises(InputError, match=message):
        Dashboard(url, "right").probe()


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_no_answer_takes_no_longer_than_its_limit(silent: socket.socket) -> None:
    port = silent.getsockname()[1]
    with pytest.raises(InputError, match=r"no answer in 0\.2 s; is the cluster running"):
        Dashboard(f"http://127.0.0.1:{port}").probe(0.2)
    silent.close()
    with pytest.raises(InputError, match="connection refused"):
        Dashboard(f"http://127.0.0.1:{port}").probe()


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a socket does not hold for it."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(60))
    with pytest.raises(InputError, match=r"no answer in 0\.2 s"):
        Dashboard("http://head:8265").probe(0.2)


def test_the_token_follows_no_redirect() -> None:
    seen = []

    def other(request: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        seen.append(request)
        return 200, VERSION

    with serving(lambda *_: (302, b"")) as url, serving(other), pytest.raises(InputError, match="redirects"):
        Dashboard(url, "right").jobs()
    assert not seen


def test_faults_that_pass_and_faults_that_stay() -> None:
    status = 503
    with serving(lambda *_: (status, b"Traceback\n  File x\nRuntimeError: no agent\n")) as url:
        with pytest.raises(UnreachableError, match="HTTP status 503"):
            Dashboard(url).jobs()
        status = 500
        with pytest.raises(RefusedError, match="HTTP status 500: RuntimeError: no agent"):
            Dashboard(url).jobs()
        status = 404
        assert Dashboard(url).job("one") is None
        assert not Dashboard(url).has_package("x.zip")


def test_only_living_nodes_count() -> None:
    nodes = [{"node_id": "a", "state": "ALIVE"}, {"node_id": "b", "state": "DEAD"}]
    with serving(lambda *_: (200, {"data": {"result": {"result": nodes}}})) as url:
        assert Dashboard(url).nodes() == nodes[:1]
