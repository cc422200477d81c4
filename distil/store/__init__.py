"""The demonstration store: sealed Arrow shards of whole episodes, numbered snapshots, and samplers that read them."""

from distil.store.index import EpisodeIndex
from distil.store.sampler import Cursor, Sampler
from distil.store.schema import StoreSpec
from distil.store.shard import ShardEntry
from distil.store.snapshot import Snapshot
from distil.store.store import Store
from distil.store.writer import ShardWriter

__all__ = ["Cursor", "EpisodeIndex", "Sampler", "ShardEntry", "ShardWriter", "Snapshot", "Store", "StoreSpec"]
