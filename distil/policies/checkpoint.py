"""A policy on disk: `policy.safetensors` (weights, statistics, spec in its header) and `policy.json`, a readable copy.

The safetensors file alone is the policy, so one rename replaces it and no half-written pair can exist. Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distil.errors import InputError
from distil.fence import Check, unfenced
from distil.policies import arrayfile
from distil.policies.header import Header, read_header
from distil.policies.spec import PolicyRef
from distil.spaces import SpaceSpec, difference

_WHAT = "policy"
WEIGHTS = f"{_WHAT}.safetensors"
READABLE = f"{_WHAT}.json"


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
    header = Header(version=ref.version, spec=ref.spec, digest=None).to_json()
    return arrayfile.write(Path(folder), _WHAT, header, ref.arrays, check)


def load_policy_ref(folder: str | Path, *, trust: Sequence[str] = ()) -> PolicyRef:
    """Return the policy that `save_policy` wrote.

    Args:
        folder: the policy's folder, or its `policy.safetensors`.
        trust: classes (package.module:Class), modules or packages of your own that the policy may name as its head or encoder.
            Building the policy imports them, so a file from elsewhere must not choose them.

    Raises:
        InputError: there is none, it is damaged, or a newer distil wrote it.
    """
    path = arrayfile.path_of(Path(folder), _WHAT)
    text, arrays = arrayfile.read(path, _WHAT, "give the folder of a trained run's policy")
    try:
        header = read_header(text, arrays, trust)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if header.digest != arrayfile.digest(arrays):
        raise InputError(f"{path}: the weights are damaged (their digest differs); copy the file again or retrain")
    return PolicyRef(version=header.version, spec=header.spec, arrays=arrays)


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
