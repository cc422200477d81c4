"""Policies in MLflow's model registry: each is a pyfunc model of safetensors and JSON, and an alias names the one to use."""

from __future__ import annotations

import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distil.errors import InputError, RunError
from distil.policies.checkpoint import READABLE, WEIGHTS, load_policy_ref
from distil.policies.spec import PolicyRef
from distil.recorded import environment_of, result
from distil.runconfig import load_config
from distil.rundir import RunDir, packages
from distil.spaces import Leaf
from distil.tracking.outbox import Outbox
from distil.tracking.server import Server
from distil.tracking.sync import address_of, sync
from distil.types import Progress, silent

ALIAS = "champion"
_REQUIREMENTS = ("mlflow", "numpy", "gymnasium")  # of a process that predicts; distil itself is to be installed there


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of a registered model."""

    name: str
    version: str
    alias: str
    before: str | None  # the version that had the alias; None: none had
    to: str  # MLflow's address

    @property
    def uri(self) -> str:
        """What MLflow loads it by."""
        return f"models:/{self.name}@{self.alias}"

    def text(self) -> str:
        """Return it in one line."""
        moved = f" (before: version {self.before})" if self.before else ""
        return f"{self.name} version {self.version} is {self.alias}{moved}: {self.uri} in MLflow at {self.to}"


def register(
    path: Path | str, *, name: str | None = None, alias: str = ALIAS, uri: str | None = None, progress: Progress = silent
) -> Registered:
    """Put a run's policy into the model registry of the MLflow that the run was recorded in, and give it an alias.

    What the run recorded is sent first. A run's policy is registered once: the second time, only the alias moves.

    Args:
        path: the run's folder.
        name: of the registered model; None: the environment's.
        alias: moves from the version that has it to this one.
        uri: MLflow's tracking URI; None: the one that the run was recorded for.
        progress: shown notes.

    Raises:
        InputError: there is no finished run, it was not recorded for MLflow, or its policy needs classes of its own.
        RunError: MLflow does not answer or refuses.
    """
    rundir = RunDir(Path(path))
    if not rundir.is_run or not rundir.policy.is_dir():
        raise InputError(f"{path}: no run with a policy there; give the folder of a finished run")
    ref = _policy(rundir)
    config = load_config(rundir.config)
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", environment_of(config)).strip("-")
    if re.search(r"[/:]", name) or not name:
        raise InputError(f"--name {name}: a registered model's name contains no '/' and no ':'")
    outbox = Outbox(rundir.path)
    sync([rundir.path], uri=uri, progress=progress)
    server = Server(uri or address_of(outbox))
    reports = rundir.reports()
    about = result(config, reports[-1]) if reports else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow's own
            return _register(server, outbox.cursor().run_id, ref, rundir, (name, alias, about))
    except (InputError, RunError):
        raise
    except Exception as error:  # MLflow passes on whatever SQLAlchemy, requests or a plugin raises
        raise RunError(f"{server.fault(error)}; repeat distil register {path} later") from error


def _policy(rundir: RunDir) -> PolicyRef:
    try:
        return load_policy_ref(rundir.policy)
    except InputError as error:
        raise InputError(f"{error}; a registered policy can only have distil's own classes") from None


def _register(server: Server, run_id: str, ref: PolicyRef, rundir: RunDir, names: tuple[str, str, str]) -> Registered:
    from mlflow.exceptions import MlflowException

    name, alias, about = names
    client = server.client
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        model = client.create_registered_model(name, description=f"Policies for {name}, trained with distil.")
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = found[0] if found else _version(client, run_id, name, about, ref, rundir)
    before = model.aliases.get(alias)
    client.set_registered_model_alias(name, alias, version.version)
    moved = None if before is None or str(before) == str(version.version) else str(before)
    return Registered(name=name, version=str(version.version), alias=alias, before=moved, to=server.name)


def _version(client: Any, run_id: str, name: str, about: str, ref: PolicyRef, rundir: RunDir) -> Any:
    """Copy the model to the run's artifacts, and make it a version."""
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(ref, rundir.policy, Path(folder) / "model")
        client.log_artifacts(run_id, str(model), "model")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    return client.create_model_version(
        name, source, run_id=run_id, description=about, tags={"run_dir": str(rundir.path.absolute())}
    )


def save_model(ref: PolicyRef, policy: Path, path: Path) -> Path:
    """Write a pyfunc model folder to `path`, with a copy of the policy's folder `policy` in it; return `path`."""
    from mlflow import pyfunc

    versions = packages()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "policy"
        data.mkdir()
        for file in (WEIGHTS, READABLE):
            (data / file).write_bytes((policy / file).read_bytes())
        pyfunc.save_model(
            str(path),
            loader_module="distil.pyfunc",
            data_path=str(data),
            signature=_signature(ref),
            pip_requirements=[f"{package}=={versions[package]}" for package in _REQUIREMENTS],
            metadata={"distil": versions.get("distil", "")},
        )
    return path


def _signature(ref: PolicyRef) -> Any:
    """Return the model's signature: observations [N, ...] of each part, and actions [N, ...]."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def tensor(leaf: Leaf, name: str | None) -> Any:
        return TensorSpec(np.dtype(leaf.dtype), (-1, *leaf.shape), name)

    parts = ref.spec.observation.leaves
    inputs = [tensor(leaf, leaf.name if len(parts) > 1 else None) for leaf in parts]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([tensor(ref.spec.action.leaf, None)]))
