"""Requests to the REST API of Ray's dashboard. Each has a time limit, and its faults are of few kinds.

The API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/openapi.html. Ray's own client waits for an
answer without a limit, and takes another address from RAY_ADDRESS.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from distil.errors import InputError, RunError
from distil.jobs.address import MODE, TOKEN, TOKEN_PATH

PROBE_S = 3.0  # for the first answer, whatever takes the time: with the start of the command it stays below 5 s
_TIMEOUT_S = 20.0  # without a byte
_LOGS_TIMEOUT_S = 8.0  # the dashboard asks the job's node, which may be cut off
_UPLOAD_TIMEOUT_S = 120.0
_OLDEST = (2, 60)  # Ray


class UnreachableError(RunError):
    """The dashboard did not answer, or could not do it now. The same request may succeed later."""


class RefusedError(RunError):
    """The dashboard answered that it will not do it.

    Args:
        message: what and why.
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect leads to something that is not the dashboard, such as a login page; the token is not sent there."""

    def redirect_request(self, *_: Any) -> None:
        """Follow no redirect."""


class Dashboard:
    """The dashboard of a Ray cluster.

    Args:
        url: its address.
        token: sent with each request; None: the cluster asks for none.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.session: str | None = None  # the cluster's own name, once it has answered
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirects)

    def probe(self, timeout_s: float = PROBE_S) -> None:
        """Check address and token with a first request.

        Raises:
            InputError: nothing answers there in time, it is not Ray's dashboard, its Ray is too old, or the token is missing or
                wrong.
        """
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(self._get("/api/version", timeout_s))
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=ask, daemon=True)  # a name server, or a server that drips, knows no time limit
        thread.start()
        thread.join(timeout_s)
        answer = found[0] if found else UnreachableError(f"{self.url}: no answer in {timeout_s:g} s")
        hint = "is the cluster running, and does --address name its dashboard (ray start prints it)?"
        if isinstance(answer, InputError):
            raise answer
        if isinstance(answer, RunError):
            raise InputError(f"{answer}; {hint}")
        version = answer.get("ray_version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise InputError(f"{self.url}: something else than Ray's dashboard answers there; {hint}")
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
            raise InputError(f"{self.url}: the cluster runs Ray {version}; distil needs {'.'.join(map(str, _OLDEST))} or newer")
        self.session = answer.get("session_name")

    def has_package(self, name: str) -> bool:
        """Return whether the cluster has a package; it keeps it for some minutes then."""
        try:
            self._send("GET", f"/api/packages/gcs/{name}")
        except RefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def upload(self, name: str, content: bytes) -> None:
        """Store a package on the cluster."""
        self._send("PUT", f"/api/packages/gcs/{name}", content, timeout_s=_UPLOAD_TIMEOUT_S)

    def start(self, request: Mapping[str, Any]) -> None:
        """Start a job."""
        self._send("POST", "/api/jobs/", json.dumps(request).encode())

    def job(self, job_id: str) -> Mapping[str, Any] | None:
        """Return what the cluster says of a job; None if it knows none of that id."""
        try:
            found: Mapping[str, Any] = self._get(f"/api/jobs/{quote(job_id, safe='')}")
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    def jobs(self) -> Sequence[Mapping[str, Any]]:
        """Return what the cluster says of all its jobs."""
        found: Sequence[Mapping[str, Any]] = self._get("/api/jobs/")
        return found

    def logs(self, job_id: str) -> str:
        """Return what a job has printed so far."""
        return str(self._get(f"/api/jobs/{quote(job_id, safe='')}/logs", _LOGS_TIMEOUT_S)["logs"])

    def stop(self, job_id: str) -> bool:
        """Ask a job to stop; return False if it has no process."""
        return bool(json.loads(self._send("POST", f"/api/jobs/{quote(job_id, safe='')}/stop"))["stopped"])

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """Return the living nodes."""
        nodes = self._get("/api/v0/nodes?detail=true&limit=10000")["data"]["result"]["result"]
        return [node for node in nodes if node["state"] == "ALIVE"]

    def _get(self, path: str, timeout_s: float = _TIMEOUT_S) -> Any:
        content = self._send("GET", path, timeout_s=timeout_s)
        try:
            return json.loads(content)
        except ValueError:
            raise InputError(f"{self.url}: something else than Ray's dashboard answers there; check --address") from None

    def _send(self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = _TIMEOUT_S) -> bytes:
        headers = {"Content-Type": "application/json" if method == "POST" else "application/octet-stream"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                text = error.read(20_000).decode(errors="replace")
            raise self._refusal(error, text) from None
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            raise UnreachableError(f"{self.url}: {_reason(cause, timeout_s)}") from None

    def _refusal(self, error: urllib.error.HTTPError, text: str) -> InputError | RunError:
        """Return the error for an answer other than 200."""
        if error.code == 401:
            return InputError(
                f"{self.url}: the cluster asks for a token, and none was found: set {MODE}=token, and {TOKEN_PATH} to a file "
                f"with the cluster's token (or {TOKEN})"
            )
        if error.code == 403:
            return InputError(
                f"{self.url}: the cluster has another token: set {TOKEN_PATH} (or {TOKEN}) to the one that it was started with"
            )
        if 300 <= error.code < 400:
            return InputError(
                f"{self.url}: redirects to {error.headers.get('Location', 'another address')}: give the dashboard's own address"
            )
        if error.code in (429, 502, 503, 504):
            return UnreachableError(f"{self.url}: HTTP status {error.code}")
        lines = [line.strip() for line in text.splitlines() if line.strip()] or [str(error.reason)]
        return RefusedError(f"{self.url}: HTTP status {error.code}: {lines[-1][:400]}", error.code)


def _reason(cause: Any, timeout_s: float) -> str:
    if isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError | http.client.IncompleteRead):
        return "something else than a web server answers"
    if isinstance(cause, TimeoutError):
        return f"no answer in {timeout_s:g} s"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror[:1].lower() + cause.strerror[1:]
    return " ".join(str(cause).split()) or type(cause).__name__
