"""Where work runs with `num_workers: auto`: in this process until Ray workers save more time than they take to start.

What later calls bring is not known. The rule is that of the rent-or-buy problem (Karlin, Manasse, Rudolph and Sleator,
Competitive snoopy caching, Algorithmica 3, 1988): rent until the rent is the price, then buy. To rent is to work in this
process for the time that workers would save; the price is the time that they take to start. So a run takes at most about twice
as long as with the better choice from its start.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from distil.cluster import num_cores

T = TypeVar("T")

START_S = 20.0  # that a Ray session and its workers take to start on a busy laptop
WORKER_S = 10.0  # work that pays for one worker
_LEAST_S = START_S / 4  # that a call must save by itself: its last seconds start nothing
_SAMPLE_S = 5.0  # of work that tell how long the rest takes
_GROWTH = 8


class Sizing:
    """Measures work in this process, and decides when workers take over. Mutable: it lives as long as the workers.

    Args:
        cores: how many workers can compute at the same time; with one core, workers save nothing.
        start_s: seconds that the workers take to start.
        clock: seconds since a fixed moment.
    """

    def __init__(
        self, cores: int | None = None, start_s: float = START_S, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.cores = num_cores() if cores is None else cores
        self.spent_s = 0.0  # of work in this process, over all calls
        self._start_s, self._clock = start_s, clock
        self._each_s = 0.0  # an item, in the last chunk

    def num_workers(self, num_left: int) -> int:
        """Return how many workers the work that is left pays for; at least two."""
        return max(2, min(self.cores, math.ceil(self.rest_s(num_left) / WORKER_S)))

    def rest_s(self, num_left: int) -> float:
        """Return the seconds that the work that is left would take in this process."""
        return self._each_s * num_left

    def pays(self, num_left: int) -> bool:
        """Return whether workers save more than they cost: of all work so far, and enough of the work that is left."""
        share, rest_s = 1 - 1 / self.cores, self.rest_s(num_left)
        return num_left > 1 and share * (self.spent_s + rest_s) > self._start_s and share * rest_s > _LEAST_S

    def chunks(self, left: deque[T], wave: int, largest: int, take_over: Callable[[int], bool]) -> Iterator[list[T]]:
        """Take chunks from `left` for this process, and measure them, until nothing is left or workers take over.

        The first chunks are small: an item may take a millisecond or an hour.

        Args:
            left: the items.
            wave: number of items that this process can run at the same time; fewer say too little about the pace.
            largest: number of items of a chunk.
            take_over: called with the number of items that are left once workers pay; returns whether they take over.
        """
        size, sampled_s, may_ask = self._sample(wave), 0.0, self.cores > 1
        while left:
            chunk = [left.popleft() for _ in range(min(size, len(left)))]
            started = self._clock()
            yield chunk
            seconds = self._clock() - started
            self.spent_s, sampled_s, self._each_s = self.spent_s + seconds, sampled_s + seconds, seconds / len(chunk)
            if len(chunk) < wave and sampled_s < _SAMPLE_S:
                size = min(_GROWTH * size, self._sample(wave))
                continue
            size = largest
            if may_ask and self.pays(len(left)):
                if take_over(len(left)):
                    return
                may_ask = False

    def _sample(self, wave: int) -> int:
        """Return how many items to measure next: a wave, unless that takes too long; one where nothing is known."""
        return min(wave, max(1, int(_SAMPLE_S / self._each_s))) if self._each_s else 1
