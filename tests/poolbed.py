"""An actor that counts, dies, raises and waits on request. Ray's workers import this module, wherever they start."""

import os

from distil.errors import InputError, RunError


class Answer:
    """A report."""

    def __init__(self, value, error=""):
        self.value, self.error = value, error

    def raise_error(self):
        if self.error:
            raise RunError(self.error)


class Counter:
    """The actor: keeps what it has done until it is asked to save it."""

    def __init__(self, setup):
        self._done = []

    def ready(self):
        if os.environ.get("COUNTER_DIES"):
            os._exit(1)

    def run(self, task):
        import ray

        if task == "die":
            os._exit(1)
        if task == "raise":
            raise InputError("no such number")
        if task == "report":
            return Answer(None, "out of fingers")
        if isinstance(task, tuple):  # ("once", marker, value): dies the first time
            _, marker, task = task
            if not os.path.exists(marker):
                open(marker, "w").close()
                os._exit(1)
        if isinstance(task, str):  # a fifo: tell that the task has begun, then wait to be cancelled
            with open(task, "w") as gate:
                gate.write("begun")
            while not ray.get_runtime_context().is_canceled():
                pass
            return Answer(None)
        self._done.append(task)
        return Answer(task)

    def save(self):
        return Answer(list(self._done))
