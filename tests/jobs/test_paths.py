import pytest

from distil.cli.common import read_overrides
from distil.errors import InputError
from distil.jobs.paths import Homes, homes, override_words, stays
from distil.runconfig import load_config


def test_each_relative_path_gets_a_home() -> None:
    found = homes(load_config("cartpole-bc"), Homes("/shared"))
    assert found == {
        "runs": "/shared/runs",
        "data.path": "/shared/data/cartpole-bc",
        "tracking.uri": "sqlite:////shared/mlflow.db",
    }
    again = homes(load_config("cartpole-bc", found), Homes("/shared"))
    assert again == {}


def test_absolute_paths_and_urls_stay() -> None:
    config = load_config("cartpole-bc", {"runs": "/r", "data.path": "s3://bucket/demos", "tracking.uri": "http://mlflow:5000"})
    move = Homes(None)
    assert homes(config, move) == {}
    move.require()
    assert homes(load_config("cartpole-bc", {"runs": "/r", "data.path": "/d", "tracking.enabled": False}), move) == {}


@pytest.mark.parametrize(
    ("uri", "home"),
    [
        ("sqlite:///own/x.db", "sqlite:////shared/own/x.db"),
        ("sqlite:////own/x.db", None),
        ("file:mlruns", "file:/shared/mlruns"),
        ("file:///mlruns", None),
        ("mlruns", "/shared/mlruns"),
        ("postgresql://host/db", None),
        ("databricks", None),
    ],
)
def test_mlflows_address(uri: str, home: str | None) -> None:
    config = load_config("cartpole-bc", {"runs": "/r", "data.path": "/d", "tracking.uri": uri})
    assert homes(config, Homes("/shared")).get("tracking.uri") == home


def test_mlflows_address_from_the_environment_that_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("cartpole-bc", {"runs": "/r", "data.path": "/d"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert homes(config, Homes("/shared"), ["MLFLOW_TRACKING_URI"]) == {}
    found = homes(config, Homes("/shared"))
    assert found == {"tracking.uri": "sqlite:////shared/mlflow.db"}
    assert "MLFLOW_TRACKING_URI is set here and does not travel" in stays(found, [])[0]
    assert stays(found, ["MLFLOW_TRACKING_URI"]) == stays({}, []) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    with pytest.raises(InputError, match=r"--env MLFLOW_TRACKING_URI: mlflow\.db is relative"):
        homes(config, Homes("/shared"), ["MLFLOW_TRACKING_URI"])


def test_the_parts_of_a_mixture_move_together() -> None:
    parts = [{"path": "a", "weight": 2.0}, {"path": "/b"}]
    settings = {"env": None, "expert": None, "data": {"mixture": {"parts": parts}}, "runs": "/r", "tracking.enabled": False}
    config = load_config("cartpole-bc", settings)
    found = homes(config, Homes("/shared"))
    moved = load_config("cartpole-bc", {**settings, **read_overrides(tuple(override_words(found)))})
    assert moved.data.mixture is not None
    assert [part.path for part in moved.data.mixture.parts] == ["/shared/a", "/b"]
    assert moved.data.mixture.weights == (2.0, 1.0)


def test_without_a_home_all_are_named_at_once() -> None:
    move = Homes(None)
    homes(load_config("cartpole-bc"), move)
    with pytest.raises(InputError, match=r"runs=runs, data\.path=data/cartpole-bc, tracking\.uri=mlflow\.db: .*--root /shared"):
        move.require()
    outside = Homes("/shared")
    homes(load_config("cartpole-bc", {"runs": "../runs"}), outside)
    with pytest.raises(InputError, match=r"runs=\.\./runs"):
        outside.require()
    with pytest.raises(InputError, match="--root shared: give an absolute path"):
        Homes("shared")


def test_overrides_keep_their_values_through_the_command_line() -> None:
    values = {"a": "/shared/my runs: #1", "b": "sqlite:////shared/mlflow.db", "c": {"x.y": [1, "null"]}, "d": "123"}
    assert read_overrides(tuple(override_words(values))) == values
