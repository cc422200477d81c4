"""The episodes of a run: demonstrations, and what its own policies did. The streams of its updates draw from them."""

from distil.rundata.data import RunData, describe, open_data
from distil.rundata.demos import missing

__all__ = ["RunData", "describe", "missing", "open_data"]
