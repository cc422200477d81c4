"""An actor that counts, dies, raises and waits on request, and actors without processes. Ray's workers import this module."""

import os
from concurrent.futures import Future

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


class Call:
    """A reference of a call that nobody but the test answers."""

    def __init__(self, member, args):
        self.member, self.args, self.future = member, args, Future()


class Method:
    """`actor.METHOD` of a fake actor."""

    def __init__(self, calls, member, answer):
        self._calls, self._member, self._answer = calls, member, answer

    def remote(self, *args):
        call = Call(self._member, args)
        self._calls.append(call)
        try:
            if self._answer is not None:
                call.future.set_result(self._answer(*args))
        except Exception as error:
            call.future.set_exception(error)
        return call


class LocalTransport:
    """Actors without processes: `ready` and `save` answer at once, `run` too unless the test answers it."""

    what = "counters"

    def __init__(self, run=Answer):
        self.calls, self.num_started, self._run = [], 0, run

    def start(self):
        self.num_started += 1
        answers = {"ready": lambda: None, "run": self._run, "save": lambda: Answer([])}
        methods = {name: Method(self.calls if name == "run" else [], self.num_started, answers[name]) for name in answers}
        return type("Actor", (), methods)()

    def answer(self, reference):
        return reference.future

    def why_gone(self, error):
        return "it is gone" if isinstance(error, ConnectionError) else None

    def cancel(self, reference):
        pass

    def kill(self, actor):
        pass
