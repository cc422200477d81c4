"""The first numbers that many freshly seeded numpy generators draw, computed for all seeds at once.

For CartPole alone, whose steps are cheap: a new `np.random.PCG64(seed)` takes 18 us, as much as three steps, and 0.5 us here.
With one generator after another, episodes of ten steps, as an untrained policy has them, are collected at 0.76 to 0.87 of the
speed. The streams of `SeedSequence` and `PCG64` never change (numpy's NEP 19), so they can be computed here: O'Neill (2014),
"PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for Random Number Generation"; O'Neill (2015),
"Developing a seed_seq alternative".

Legend: K seeds, D numbers of each; 128-bit integers are pairs (high, low) of uint64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
Longs = NDArray[np.uint64]
_HASH, _HASH_FACTOR = 0x43B0D7E5, 0x931E8875  # of seeds, as `SeedSequence` mixes them
_STATE, _STATE_FACTOR = 0x8B51F9DD, 0x58F38DED  # of what it returns
_MIX_LEFT, _MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_POOL = 4  # words
_FACTOR = divmod(0x2360ED051FC65DA44385DF649FCCF645, 1 << 64)  # of PCG64's steps
_LOW = np.uint64(0xFFFFFFFF)


def first_uniform(seeds: Sequence[int], low: float, high: float, num: int) -> NDArray[np.float64]:
    """Return `Generator.uniform(low, high, num)` of a new PCG64 generator of each seed, [K, D].

    Args:
        seeds: K integers in [0, 2**32).
        low: lower bound.
        high: upper bound.
        num: D.
    """
    out = np.empty((len(seeds), num))
    words = _words(np.array(seeds, np.uint32), 8).astype(np.uint64)
    start, stream = ((words[i + 1] << np.uint64(32) | words[i], words[i + 3] << np.uint64(32) | words[i + 2]) for i in (0, 4))
    step = stream[0] << np.uint64(1) | stream[1] >> np.uint64(63), stream[1] << np.uint64(1) | np.uint64(1)
    state = _next(_add(start, step), step)
    for i in range(num):
        state = _next(state, step)
        out[:, i] = (_output(state) >> np.uint64(11)) * (1.0 / (1 << 53))
    return low + (high - low) * out


def _words(seeds: Words, num: int) -> Words:
    """Return `SeedSequence(seed).generate_state(num)` of each seed, [num, K]."""
    pool = np.zeros((_POOL, len(seeds)), np.uint32)
    pool[0] = seeds
    constant = _HASH
    for i in range(_POOL):
        pool[i], constant = _hashed(pool[i], constant, _HASH_FACTOR)
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                mixed, constant = _hashed(pool[source], constant, _HASH_FACTOR)
                mixed = _MIX_LEFT * pool[target] - _MIX_RIGHT * mixed
                pool[target] = mixed ^ mixed >> np.uint32(16)
    out, constant = np.empty((num, len(seeds)), np.uint32), _STATE
    for i in range(num):
        out[i], constant = _hashed(pool[i % _POOL], constant, _STATE_FACTOR)
    return out


def _hashed(values: Words, constant: int, factor: int) -> tuple[Words, int]:
    """Return hashed words, and the constant of the next ones."""
    after = constant * factor & 0xFFFFFFFF
    values = (values ^ np.uint32(constant)) * np.uint32(after)
    return values ^ values >> np.uint32(16), after


def _next(state: tuple[Longs, Longs], step: tuple[Longs, Longs]) -> tuple[Longs, Longs]:
    """Return state * factor + step, modulo 2**128."""
    (high, low), (factor_high, factor_low) = state, map(np.uint64, _FACTOR)
    carried, product = _product(low, factor_low)
    return _add((high * factor_low + low * factor_high + carried, product), step)


def _product(a: Longs, b: np.uint64) -> tuple[Longs, Longs]:
    """Return a * b with all of its 128 bits."""
    half = np.uint64(32)
    (a_high, a_low), (b_high, b_low) = ((x >> half, x & _LOW) for x in (a, b))
    low, cross = a_low * b_low, a_low * b_high
    middle = a_high * b_low + (low >> half) + (cross & _LOW)
    return a_high * b_high + (cross >> half) + (middle >> half), middle << half | low & _LOW


def _add(a: tuple[Longs, Longs], b: tuple[Longs, Longs]) -> tuple[Longs, Longs]:
    low = a[1] + b[1]
    return a[0] + b[0] + (low < a[1]), low


def _output(state: tuple[Longs, Longs]) -> Longs:
    """Return 64 bits of a state: XSL-RR."""
    bits, turn = state[0] ^ state[1], state[0] >> np.uint64(58)
    out: Longs = np.bitwise_or(bits >> turn, bits << (-turn & np.uint64(63)))
    return out
