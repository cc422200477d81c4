"""One thread for the linear algebra of rollouts in this process, as in Ray actors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread of BLAS and OpenMP meanwhile, whatever the number of cores.

    A step multiplies matrices of tens of rows: more threads wait for each other longer than they compute, on busy cores for
    seconds. Ray actors have one thread, too, so the last bits of a product do not depend on where it is computed.
    Torch's number belongs to the thread that calls it: a learner that trains meanwhile in another one keeps its own.
    """
    from threadpoolctl import threadpool_limits

    if "torch" in sys.modules:
        sys.modules["torch"].get_num_threads()  # a thread's first call of torch sets its number: it would end the limit
    with threadpool_limits(limits=1):
        yield
