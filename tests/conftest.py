import gc
import os
import signal
import sys
import tempfile
import warnings
from functools import partialmethod
from pathlib import Path

import pytest
from hypothesis import settings

THRESHOLDS = gc.get_threshold()
gc.set_threshold(50_000, 50, 10)  # imports make millions of objects and no garbage
TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))  # `testbed:Toy` and the like are import targets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # SWIG's warnings, turned into errors while Box2D loads, crash the interpreter
    import Box2D  # noqa: F401

settings.register_profile("no deadline", deadline=None)  # a busy machine fails no test
settings.load_profile("no deadline")


def pytest_collection_finish():
    gc.freeze()  # what there is now stays: it need not be searched for garbage again and again
    gc.set_threshold(*THRESHOLDS)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Each test runs in its own folder: files that it writes under relative paths never reach the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def power_cut(monkeypatch):
    """A simulated power cut: `powercut.PowerCut`."""
    from powercut import PowerCut

    return PowerCut(monkeypatch)


@pytest.fixture(autouse=True)
def _interruptible():
    """Ctrl-C interrupts tests and the processes that they start, even if the parent process of the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def ray_session():
    """The one Ray session of the tests: 8 logical CPUs. Returns the `ray` module; actors find the `testbed` module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        import ray
        from ray._private.parameter import RayParams

        # for the agent that starts jobs, any port: another session of this machine may have Ray's 52365
        RayParams.__init__ = partialmethod(RayParams.__init__, dashboard_agent_listen_port=0)
        with tempfile.TemporaryDirectory(prefix="d", dir="/tmp", ignore_cleanup_errors=True) as folder:
            os.chdir(folder)  # actors start where the session was started
            ray.init(
                address="local",
                num_cpus=8,
                object_store_memory=256 * 2**20,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                _temp_dir=folder,
            )
            yield ray
            ray.shutdown()
