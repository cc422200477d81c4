"""Experiment tracking: a run appends to an outbox in its folder, and a thread sends that to MLflow."""

from distil.tracking.base import DatasetInfo, NullTracker, Status, Tracker, flatten
from distil.tracking.config import DEFAULT_URI, TrackingConfig
from distil.tracking.group import Group, grouped
from distil.tracking.outbox import Outbox, outboxes
from distil.tracking.recorder import Recorder
from distil.tracking.server import PARENT_TAG

__all__ = [
    "DEFAULT_URI",
    "PARENT_TAG",
    "DatasetInfo",
    "Group",
    "NullTracker",
    "Outbox",
    "Recorder",
    "Status",
    "Tracker",
    "TrackingConfig",
    "flatten",
    "grouped",
    "outboxes",
]
