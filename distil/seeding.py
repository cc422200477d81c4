"""One root seed, many named independent streams; episode seeds of different purposes never overlap.

An episode's seed is a 31-bit integer. Its two highest bits encode its purpose, so that a held-out evaluation episode is never
among the collected ones, whatever the root seed.
"""

from __future__ import annotations

import enum
import hashlib

import numpy as np

_SEED_BITS = 29


class Purpose(enum.IntEnum):
    """What an episode is for. Seeds of different purposes are disjoint by construction."""

    COLLECT = 0
    TUNE = 1  # choosing hyperparameters or checkpoints
    EVALUATE = 2  # the reported score, and nothing else


def _words(name: str | int) -> list[int]:
    digest = hashlib.sha256(repr(name).encode()).digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12)]


def sequence(root: int, *names: str | int) -> np.random.SeedSequence:
    """Return the seed sequence of the stream `names` under `root`; equal names give equal streams.

    Args:
        root: the run's root seed, non-negative.
        names: the path of the stream, such as `"learner", "batches"` or `"slot", 3`.
    """
    return np.random.SeedSequence(root, spawn_key=tuple(word for name in names for word in _words(name)))


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator on the stream `names` under `root`."""
    return np.random.Generator(np.random.PCG64(sequence(root, *names)))


def integer(root: int, *names: str | int) -> int:
    """Return one 63-bit integer from the stream: a seed for libraries that take a single number, such as torch."""
    return int(sequence(root, *names).generate_state(1, np.uint64)[0] >> 1)


def episode_seeds(purpose: Purpose, num: int, *, root: int = 0, names: tuple[str | int, ...] = ()) -> list[int]:
    """Return the reset seeds of `num` episodes, each in [0, 2**31), all distinct.

    The first k seeds are the same for every `num` >= k, so smaller sets of demonstrations are subsets of larger ones.
    Evaluation keeps `root` at 0, so that all runs, whatever their seed, are measured on the same episodes.

    Args:
        purpose: which of the disjoint ranges to draw from.
        num: number of seeds.
        root: the root seed; keep 0 for `Purpose.EVALUATE`.
        names: the stream within the purpose, such as the round.
    """
    rng = generator(root, purpose.name, *names)
    seeds: dict[int, None] = {}
    while len(seeds) < num:
        seeds[int(rng.integers(1 << _SEED_BITS)) | (int(purpose) << _SEED_BITS)] = None
    return list(seeds)
