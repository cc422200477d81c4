"""What an MLflow experiment of distil's says of itself."""

from __future__ import annotations

from typing import Any

from distil.tracking import view

EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # otherwise its link opens a page of traces
    view.TAG: view.shared_view(),
}

_NOTE = "mlflow.note.content"
_OWN_NOTE = "distil.description"  # what distil wrote as the note: one that a person wrote instead stays


def describe_experiment(client: Any, experiment_id: str, description: str) -> None:
    """Describe an experiment, unless a person has described it."""
    tags = client.get_experiment(experiment_id).tags
    for key, value in EXPERIMENT_TAGS.items():
        if key not in tags:
            client.set_experiment_tag(experiment_id, key, value)
    if tags.get(_NOTE, "") in ("", tags.get(_OWN_NOTE)) and tags.get(_NOTE) != description:
        client.set_experiment_tag(experiment_id, _OWN_NOTE, description)
        client.set_experiment_tag(experiment_id, _NOTE, description)
