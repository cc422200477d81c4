import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from rundatabed import own, train
from trackingbed import free_port

from distil.api import open_run
from distil.errors import InputError, RunError
from distil.registry import Registered, register
from distil.rundir import RunDir
from distil.tracking import outboxes

PREDICT = """
import json, sys, numpy as np, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(np.array(json.load(sys.stdin), np.float32)).tolist()))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("registry")
    return train(own(folder, tracking={"uri": f"sqlite:///{folder}/mlflow.db"}))


@pytest.fixture(scope="module")
def done(run: RunDir) -> Registered:
    return register(run.path, name="toy")


def environment(run: RunDir) -> dict[str, str]:
    return os.environ | {"MLFLOW_TRACKING_URI": uri_of(run), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}


def uri_of(run: RunDir) -> str:
    first = outboxes(run.path)[0].first()
    assert first is not None
    return str(first["to"])


def expected(run: RunDir) -> tuple[Any, Any]:
    predictor = open_run(run.path).policy()
    observations = np.random.default_rng(0).normal(size=(3, *predictor.observation.leaf.shape)).astype(np.float32)
    return observations.tolist(), predictor.predict(observations)


def test_a_policy_is_registered_once_with_its_alias_and_signature(run: RunDir, done: Registered) -> None:
    again = register(run.path, name="toy")
    assert (again.version, again.before, again.uri) == (done.version, None, "models:/toy@champion")
    client = MlflowClient(uri_of(run))
    (version,) = client.search_model_versions("name = 'toy'")
    assert client.get_model_version_by_alias("toy", "champion").version == version.version
    assert version.run_id == outboxes(run.path)[0].cursor().run_id
    assert version.description.startswith("bc on ")
    folder = Path(version.source.removeprefix("file://"))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert [name for name in files if name.startswith("data/")] == ["data/policy/policy.json", "data/policy/policy.safetensors"]
    assert [name for name in files if name.endswith((".pkl", ".pickle"))] == []
    text = (folder / "MLmodel").read_text()
    assert "loader_module: distil.pyfunc" in text
    assert '"shape": [-1, ' in text


def test_it_predicts_in_a_process_of_its_own(run: RunDir, done: Registered, tmp_path: Path) -> None:
    observations, actions = expected(run)
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PREDICT, done.uri],
        input=json.dumps(observations),
        env=environment(run),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert np.allclose(json.loads(found.stdout), actions)


@pytest.mark.slow
def test_mlflows_own_command_predicts(run: RunDir, done: Registered, tmp_path: Path) -> None:
    observations, actions = expected(run)
    (tmp_path / "in.json").write_text(json.dumps({"inputs": observations}))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", done.uri, "-i", "in.json", "-o", "out.json"]
    options = ["-t", "json", "--env-manager", "local"]
    subprocess.run([*command, *options], env=environment(run), cwd=tmp_path, capture_output=True, check=True)
    assert np.allclose(json.loads((tmp_path / "out.json").read_text())["predictions"], actions)


def test_the_alias_moves_to_the_newest(run: RunDir, done: Registered) -> None:
    config = own(run.path.parents[1], tracking={"uri": uri_of(run)}, seed=7)
    second = train(config)
    moved = register(second.path, name="toy")
    assert (moved.version, moved.before) == ("2", done.version)
    assert moved.text().startswith(
        "toy version 2 is champion (before: version 1): models:/toy@champion in MLflow at sqlite:///"
    )
    assert register(run.path, name="toy").before == "2"


def test_what_cannot_be_registered_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no run with a policy there"):
        register(tmp_path / "none")
    away = train(own(tmp_path, tracking={"uri": f"http://127.0.0.1:{free_port()}"}))
    with pytest.raises(RunError, match="refused"):
        register(away.path)
    with pytest.raises(InputError, match=r"a registered model's name contains no"):
        register(away.path, name="a/b")
    untracked = train(own(tmp_path / "other"))
    with pytest.raises(InputError, match="has records for MLflow"):
        register(untracked.path)
