"""For tests of jobs: a server that answers as Ray's dashboard does, and a connection to a real one that can be cut."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = {"version": "4", "ray_version": "2.60.0"}
Answer = Callable[[str, Mapping[str, str]], tuple[int, Any]]  # "METHOD /path", headers -> status, JSON or bytes


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Serve answers; a body of bytes is sent as it is. Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer(f"{self.command} {self.path}", self.headers)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/login")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def job(status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    """Return what Ray's dashboard says of a job."""
    metadata = {"distil_command": "train mine", "distil_digest": "d"}
    base = {"type": "SUBMISSION", "submission_id": "one", "status": status, "start_time": 1_000, "metadata": metadata}
    return {**base, "entrypoint": "python -m distil train mine", "message": "", **more}


@dataclass
class Proxy:
    """Forwards connections to a server, and cuts them on request.

    Args:
        target: host and port of the server.
        swallow: a request that begins with this is forwarded, and its first answer is lost.
        every: each connection of this number is cut in the middle of its answer; 0: none.
    """

    target: tuple[str, int]
    swallow: bytes = b""
    every: int = 0
    cuts: int = 0
    _connections: int = 0

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.target) as server, suppress(OSError), _ended(client, server):
            request = client.recv(1 << 20)
            is_lost = bool(self.swallow) and request.startswith(self.swallow)
            self._connections += 1
            is_cut = bool(self.every) and self._connections % self.every == 0
            server.sendall(request)
            threading.Thread(target=_pump, args=(client, server), daemon=True).start()
            while data := server.recv(1 << 16):
                if is_lost:
                    self.swallow, self.cuts = b"", self.cuts + 1
                    return
                if is_cut:
                    client.sendall(data[: len(data) // 2])
                    self.cuts += 1
                    return
                client.sendall(data)


@contextmanager
def _ended(*sockets: socket.socket) -> Iterator[None]:
    """End connections, also those from which another thread reads: to close them is not enough."""
    try:
        yield
    finally:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)


def project(folder: Path, **files: str) -> Path:
    """Make a project: a recipe with an environment of its own, in a module that imports another one."""
    texts = {
        "recipe.yaml": (
            'name: mine\nenv: {kind: import, target: "mine.env:Talking"}\nexpert: {kind: random}\n'
            "data: {episodes: 3}\nrollouts: {num_workers: 0, num_envs: 1}\nlearner: {num_steps: 20}\n"
            "policy: {encoder: {hidden: [8]}}\nevaluation: {episodes: 0}\ntracking: {enabled: false}\n"
        ),
        "mine/__init__.py": "",
        "mine/env.py": (
            "import os\nimport time\nfrom testbed import Toy\nfrom mine.words import WORD\n\n\n"
            "class Talking(Toy):\n"
            "    def reset(self, **more):\n"
            "        print('threads:', os.environ.get('OMP_NUM_THREADS'), flush=True)\n"
            "        for number in range(int(os.environ.get('LINES', 0))):\n"
            "            print(WORD, number, 'x' * 200, flush=True)\n"
            "            time.sleep(0.01)\n"
            "        time.sleep(float(os.environ.get('PAUSE', 0)))\n"
            "        return super().reset(**more)\n"
        ),
        "mine/words.py": "WORD = 'line'\n",
    }
    for name, text in (texts | files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder
