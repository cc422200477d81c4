"""A policy on disk: `policy.safetensors` (weights, statistics, spec in its header) and `policy.json`, a readable copy.

The safetensors file alone is the policy, so one rename replaces it and no half-written pair can exist. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from distil.durable import make_folders, replace_durably
from distil.errors import InputError, RunError
from distil.fence import Check, unfenced
from distil.policies.header import Header, read_header
from distil.policies.spec import PolicyRef
from distil.spaces import SpaceSpec, difference

WEIGHTS = "policy.safetensors"
READABLE = "policy.json"


def save_policy(ref: PolicyRef, folder: str | Path, check: Check = unfenced) -> Path:
    """Write a policy into `folder` (made if needed), durably; an older one there is replaced.

    Args:
        ref: the policy.
        folder: its folder.
        check: called before each of its files is replaced; see `distil.fence`.

    Returns:
        The weights' path.

    Raises:
        RunError: the disk refused.
    """
    folder = Path(folder)
    header = Header(version=ref.version, spec=ref.spec, digest=_digest(ref)).to_json()
    weights = save({k: np.ascontiguousarray(v) for k, v in ref.arrays.items()}, metadata={"distil": json.dumps(header)})
    try:
        make_folders(folder)
        replace_durably(folder / WEIGHTS, weights, check)
        replace_durably(folder / READABLE, (json.dumps(header, indent=2) + "\n").encode(), check)
    except OSError as error:
        raise RunError(
            f"{folder}: can't write the policy: {error.strerror}; free some space or choose another folder"
        ) from None
    return folder / WEIGHTS


def load_policy_ref(folder: str | Path, *, trust: Sequence[str] = ()) -> PolicyRef:
    """Return the policy that `save_policy` wrote.

    Args:
        folder: the policy's folder, or its `policy.safetensors`.
        trust: classes (package.module:Class), modules or packages of your own that the policy may name as its head or encoder.
            Building the policy imports them, so a file from elsewhere must not choose them.

    Raises:
        InputError: there is none, it is damaged, or a newer distil wrote it.
    """
    path = Path(folder)
    path = path if path.suffix == ".safetensors" else path / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: no policy here; give the folder of a trained run's policy")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {})["distil"]
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:  # or a dtype that numpy lacks
        raise InputError(f"{path}: not a whole distil policy ({type(error).__name__}); copy it again or retrain") from None
    try:
        header = read_header(text, arrays, trust)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    ref = PolicyRef(version=header.version, spec=header.spec, arrays=arrays)
    if header.digest != _digest(ref):
        raise InputError(f"{path}: the weights are damaged (their digest differs); copy the file again or retrain")
    return ref


def require_spaces(ref: PolicyRef, observation: SpaceSpec, action: SpaceSpec, what: str) -> None:
    """Raise InputError, naming the difference, if a policy isn't one for these spaces; `what` names their owner."""
    for name, mine, theirs in (
        ("observations", ref.spec.observation, observation),
        ("actions", ref.spec.action, action),
    ):
        if differs := difference(mine, theirs, ("the policy", what)):
            raise InputError(
                f"the policy's {name} are {mine.describe()}, those of {what} {theirs.describe()}: {differs}; use a policy "
                "trained on its spaces (imported data take them from --recipe RECIPE or --env ID)"
            )


def _digest(ref: PolicyRef) -> str:
    state = xxhash.xxh3_128()
    for name in sorted(ref.arrays):
        value = np.ascontiguousarray(ref.arrays[name])
        state.update(f"{name} {value.dtype} {value.shape}".encode())
        state.update(value.tobytes())
    return state.hexdigest()
