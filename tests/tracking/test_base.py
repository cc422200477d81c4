from pathlib import Path

from distil.tracking import NullTracker, Tracker, flatten


def test_disabled_tracking_records_nothing(tmp_path: Path) -> None:
    tracker: Tracker = NullTracker()
    assert tracker.start("a", {}) == ""
    tracker.log({"loss": 1.0}, 0)
    tracker.artifact(tmp_path)
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


def test_parameters_are_flat() -> None:
    assert flatten({"a": {"b": {"c": 1e-3}, "d": None}, "e": "text", "f": True}) == {
        "a.b.c": "0.001",
        "a.d": "null",
        "e": "text",
        "f": "true",
    }
