from collections import deque

import pytest

from distil.rollouts.sizing import START_S, WORKER_S, Sizing

WAVE, LARGEST = 32, 256


class Work:
    """Items that take `each` seconds one by one, or as a wave of up to `WAVE` items the time of `shared` of them."""

    def __init__(self, cores: int = 8, takes_over: bool = True) -> None:
        self.now, self.takes_over = 0.0, takes_over
        self.asked: list[int] = []
        self.sizing = Sizing(cores, clock=lambda: self.now)

    def run(self, num: int, each: float, shared: int = 1) -> tuple[list[int], int]:
        """Return the sizes of the chunks of this process, and the number of items that are left to workers."""
        left, sizes = deque(range(num)), []
        for chunk in self.sizing.chunks(left, WAVE, LARGEST, self._take_over):
            sizes.append(len(chunk))
            self.now += each * -(-len(chunk) // shared)
        assert sum(sizes) + len(left) == num
        return sizes, len(left)

    def _take_over(self, num_left: int) -> bool:
        self.asked.append(num_left)
        return self.takes_over


def test_small_work_stays() -> None:
    work = Work()
    assert work.run(50, 0.1) == ([1, 8, 32, 9], 0)
    assert work.run(50, 0.1) == ([32, 18], 0)  # the pace is known
    assert work.asked == []


def test_an_item_of_an_hour_is_the_only_one_that_this_process_runs() -> None:
    assert Work().run(50, 3600) == ([1], 49)


def test_items_that_share_a_wave_are_not_judged_by_the_first_one() -> None:
    """5,000 episodes of 0.1 s, 32 at a time: 16 s."""
    work = Work()
    sizes, left = work.run(5000, 0.1, shared=WAVE)
    assert (sizes[:4], left) == ([1, 8, 32, 256], 0)
    assert work.asked == []


def test_large_work_moves_after_a_sample() -> None:
    work = Work()
    assert work.run(1000, 0.5) == ([1, 8, 10], 981)
    assert work.now == pytest.approx(9.5)
    assert work.sizing.num_workers(981) == 8
    assert work.sizing.num_workers(50) == 3  # 25 s of work
    assert work.sizing.num_workers(1) == 2


def test_many_small_calls_move_once_their_sum_pays() -> None:
    work, calls = Work(), 0  # of 20 s each
    while work.run(40, 0.5)[1] == 0:
        calls += 1
        assert calls < 10
    assert START_S <= work.now <= 3 * START_S


def test_the_last_seconds_start_nothing() -> None:
    work = Work()
    assert work.run(4, 1.0) == ([1, 3], 0)
    for _ in range(99):
        assert work.run(4, 1.0) == ([4], 0)
    assert work.now == 400
    assert work.asked == []


def test_one_core_never_asks() -> None:
    work = Work(cores=1)
    assert work.run(100, 10.0)[1] == 0
    assert work.asked == []


def test_workers_that_cannot_start_are_asked_for_once() -> None:
    work = Work(takes_over=False)
    assert work.run(600, 1.0)[1] == 0
    assert len(work.asked) == 1


def test_two_cores_save_half() -> None:
    work = Work(cores=2)
    assert work.run(39, 1.0)[1] == 0
    assert Work(cores=2).run(42, 1.0)[1] > 0
    assert WORKER_S <= START_S
