"""A local S3 server for tests: moto's, in a process of its own. Prints its port when it listens."""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

_app = DomainDispatcherApplication(create_backend_app)
_one_at_a_time = threading.Lock()  # moto checks If-None-Match and stores in two steps; S3 does so in one


class Quiet(WSGIRequestHandler):
    def log_request(self, *args, **kwargs):
        pass


def app(environ, start_response):
    with _one_at_a_time:
        return [b"".join(_app(environ, start_response))]


if __name__ == "__main__":
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
