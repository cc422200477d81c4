"""The demonstration store: sealed Arrow shards of whole episodes, numbered snapshots, and samplers that read them."""

from distil.store.episodes import EpisodeSampler
from distil.store.index import EpisodeIndex
from distil.store.mixture import MixedSampler, MixtureConfig
from distil.store.order import SampleSource
from distil.store.reading import ReadConfig, Reader
from distil.store.sampler import Cursor, Sampler
from distil.store.schema import StoreSpec
from distil.store.selection import SelectionConfig
from distil.store.shard import ShardEntry
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.store.stream import StreamSampler
from distil.store.weighting import WeightConfig
from distil.store.windows import TransitionBatch, Windows
from distil.store.writer import ShardWriter

__all__ = [
    "Cursor",
    "EpisodeIndex",
    "EpisodeSampler",
    "MixedSampler",
    "MixtureConfig",
    "ReadConfig",
    "Reader",
    "SampleSource",
    "Sampler",
    "SelectionConfig",
    "ShardEntry",
    "ShardWriter",
    "Snapshot",
    "Store",
    "StoreSpec",
    "StreamSampler",
    "TransitionBatch",
    "WeightConfig",
    "Windows",
]
