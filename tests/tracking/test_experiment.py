from pathlib import Path

from mlflow.tracking import MlflowClient

from distil.tracking.experiment import describe_experiment
from distil.tracking.server import Server


def test_an_experiment_is_of_models_and_described_unless_a_person_describes_it(uri: str, tmp_path: Path) -> None:
    server, client = Server(uri), MlflowClient(uri)
    number = server.experiment("described")

    def tags() -> dict[str, str]:
        return dict(client.get_experiment(number).tags)

    assert tags()["mlflow.experimentKind"] == "custom_model_development"
    for text in ("Pendulum-v1", "Pendulum-v1; expert -150"):
        describe_experiment(client, number, text)
        assert tags()["mlflow.note.content"] == text
    client.set_experiment_tag(number, "mlflow.note.content", "what I try this week")
    describe_experiment(client, number, "Pendulum-v1")
    assert tags()["mlflow.note.content"] == "what I try this week"
