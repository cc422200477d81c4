"""How much a demonstration counts in the loss: by its round, and more or less where the expert took over from a policy.

A window's weight is that of its episode, times `intervention` if its first transition is an intervention: the expert acted in
an episode in which a learned policy acts. Episodes that the expert flew alone have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distil.errors import InputError
from distil.store.entry import ShardEntry
from distil.store.index import EpisodeIndex
from distil.store.location import Location
from distil.store.rows import RowReader, Runs
from distil.store.schema import StoreSpec
from distil.store.windows import Pieces

WEIGHT_BYTES = 12  # of a sample: its weight, and those of two orders
_ACTED = "acted_by_expert"
_MOST = 1e30  # a batch of such weights still has a sum in float32


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """The weights of a snapshot's N episodes."""

    episode: NDArray[np.float32]  # [N]
    intervention: float = 1.0  # factor of the transitions that are interventions

    @staticmethod
    def checked(weights: ArrayLike, intervention: float, num_episodes: int, where: str) -> Weights:
        """Return them; InputError unless there is a finite, non-negative weight an episode, not all zero."""
        values: NDArray[Any] = np.asarray(weights)
        if values.shape != (num_episodes,) or values.dtype.kind not in "biuf":
            raise InputError(f"{where}: weights must be {num_episodes} numbers, one an episode, not {list(values.shape)}")
        if not (0 < intervention <= _MOST):
            raise InputError(f"{where}: the weight {intervention} of interventions should be above 0 and at most {_MOST:g}")
        if not np.all((values >= 0) & (values <= _MOST / max(1.0, intervention))):  # also refuses NaN
            raise InputError(
                f"{where}: weights should be finite, at least 0 and, with the factor of interventions, at most {_MOST:g}"
            )
        episode = values.astype(np.float32)
        if num_episodes and not episode.any():
            raise InputError(f"{where}: all weights are 0, nothing would be learned; give one episode a weight above 0")
        return Weights(episode=episode, intervention=float(intervention))

    def take(self, indices: NDArray[np.int64]) -> Weights:
        """Return the weights of the episodes at `indices`, in that order."""
        return replace(self, episode=self.episode[indices])

    def tobytes(self) -> bytes:
        """Return all that they say, as a digest takes it."""
        return self.episode.tobytes() + np.float64(self.intervention).tobytes()


class WeightedEpisodes(Protocol):
    """Episodes that samples are taken from, and their weights: a `Snapshot`, which has samplers of its own."""

    @property
    def path(self) -> Location:
        """The store's folder or URL."""

    @property
    def entries(self) -> Sequence[ShardEntry]:
        """The shards that `episodes.shard` counts."""

    @property
    def spec(self) -> StoreSpec:
        """The store's spec."""

    @property
    def episodes(self) -> EpisodeIndex:
        """The episodes, in their order."""

    @property
    def weights(self) -> Weights | None:
        """Their weights; None: all episodes and steps count alike."""


def window_weights(
    snapshot: WeightedEpisodes, pieces: Pieces, episode: NDArray[np.int64], reader: RowReader
) -> NDArray[np.float32] | None:
    """Return the weight of the window that starts at each transition of `pieces`, in their order; None without weights.

    Who acted is read only where the index of episodes doesn't tell.

    Args:
        snapshot: whose episodes they are.
        pieces: N parts of episodes.
        episode: [N] position in the snapshot of each piece's episode.
        reader: of the snapshot's shards.
    """
    weights, facts = snapshot.weights, snapshot.episodes
    if weights is None:
        return None
    values = weights.episode[episode]
    if weights.intervention == 1:
        return np.repeat(values, pieces.num)
    factor = np.float32(weights.intervention)
    num = np.where(facts.policy_version >= 0, facts.num_acted_by_expert, 0)[episode]  # interventions
    values[num == pieces.length] *= factor
    out = np.repeat(values, pieces.num)
    some = np.flatnonzero((num > 0) & (num < pieces.length))
    if len(some):
        part, target = pieces.take(some), (np.cumsum(pieces.num) - pieces.num)[some]
        acted = np.zeros(len(out), np.uint8)
        reader.copy(Runs(shard=part.shard, source=part.row + part.begin, target=target, count=part.num), {_ACTED: acted})
        out[acted != 0] *= factor
    return out


def join_weights(parts: Sequence[WeightedEpisodes]) -> Weights | None:
    """Return the weights of all episodes of `parts`, of which some may have none; None if none has any."""
    given = [part.weights for part in parts if part.weights is not None]
    if not given:
        return None
    ones = [np.ones(len(part.episodes), np.float32) if part.weights is None else part.weights.episode for part in parts]
    return Weights(episode=np.concatenate(ones), intervention=given[0].intervention)
