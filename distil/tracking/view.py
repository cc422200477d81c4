"""The view of an experiment that distil shares: which columns and charts MLflow's page shows, as a tag of the experiment.

MLflow's page reads the tag `mlflow.sharedViewState.<key>` when its address has `viewStateShareKey=<key>`. The keys inside are
those of the page's own state.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

KEY = "distil"
TAG = f"mlflow.sharedViewState.{KEY}"

_COLUMNS = (
    "tags.`algorithm`",
    "metrics.`eval/return_mean`",
    "metrics.`eval/return_ci_low`",
    "metrics.`eval/return_ci_high`",
    "metrics.`eval/normalised`",
    "metrics.`tune/normalised`",  # of a sweep's trials, which have no other score
    "metrics.`budget/expert_labels`",
    "metrics.`budget/env_steps`",
    "tags.`seed`",
)
_WIDTH = 150  # pixels
_SCORES = "distil-scores"
_CLOSED = ("eval", "tune", "train", "budget", "time", "expert", "collect")  # sections of single metrics


def link(address: str, experiment_id: str) -> str:
    """Return the web address of an experiment's runs in the shared view."""
    return f"{address}/#/experiments/{experiment_id}/runs?viewStateShareKey={KEY}"


def shared_view() -> str:
    """Return the state of MLflow's page: scores first, sorted, and the charts that compare methods."""
    sections = [
        _section(_SCORES, "Scores", display=True),
        *(_section(f"distil-{name}", name, display=False) for name in _CLOSED),
    ]
    state = {
        "orderByKey": "metrics.`eval/return_mean`",
        "orderByAsc": False,
        "selectedColumns": _COLUMNS,
        "columnOrder": _COLUMNS,
        "columnWidths": dict.fromkeys(_COLUMNS, _WIDTH),
        "isAccordionReordered": True,  # otherwise the sections are sorted by name
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": sections,
        "compareRunCharts": [
            _chart("labels", "SCATTER", "Normalised score against labels", **_axes("budget/expert_labels", "eval/normalised")),
            _chart(
                "steps", "SCATTER", "Normalised score against environment steps", **_axes("budget/env_steps", "eval/normalised")
            ),
            _line("tune-labels", "Normalised score of each round, against labels", "tune/normalised", "budget/expert_labels"),
            _line("loss", "Loss against gradient steps", "train/loss"),
        ],
    }
    return json.dumps(state, separators=(",", ":"))


def _section(uuid: str, name: str, *, display: bool) -> dict[str, Any]:
    return {"uuid": uuid, "name": name, "display": display, "isReordered": False, "deleted": False, "isGenerated": False}


def _chart(uuid: str, kind: str, title: str, **more: Any) -> dict[str, Any]:
    chart = {"uuid": f"distil-{uuid}", "type": kind, "displayName": title, "metricSectionId": _SCORES}
    return chart | {"runsCountToCompare": 100, "deleted": False, "isGenerated": False} | more


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"key": x, "type": "METRIC"}, "yaxis": {"key": y, "type": "METRIC"}}


def _line(uuid: str, title: str, metric: str, against: str = "") -> dict[str, Any]:
    """Return a line chart, against a metric that was recorded at the same steps, or against the steps."""
    keys: Sequence[str] = [metric]
    axis = {"xAxisKey": "metric" if against else "step", "selectedXAxisMetricKey": against, "useGlobalXaxisKey": False}
    scale = {"xAxisScaleType": "linear", "scaleType": "linear", "lineSmoothness": 0, "useGlobalLineSmoothing": True}
    return _chart(uuid, "LINE", title, metricKey=metric, selectedMetricKeys=keys, yAxisKey="metric", range={}, **axis, **scale)
