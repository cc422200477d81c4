"""An environment for each library, since their dependencies conflict with distil's and with each other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"  # a CPU build, the version of requirements.lock
ENVIRONMENTS = {  # library -> interpreter, what pip installs in turn
    # with the Gymnasium (0.29.1) and Stable-Baselines3 (2.2.1) that it asks for; newer ones do not work with it
    "imitation": ("python3.11", [[TORCH, "imitation==1.0.1", "mujoco==3.3.0", "imageio"]]),
    "robomimic": (
        "python3.11",  # its dependencies include a package that needs a compiler and a display
        [
            [TORCH, "h5py", "imageio", "matplotlib", "numpy<2.4", "psutil", "six", "tensorboard", "termcolor", "tqdm"],
            ["--no-deps", "robomimic==0.3.0"],
        ],
    ),
    "stable-baselines3": (
        "python3.11",
        [[TORCH, "stable-baselines3==2.9.2", "mujoco==3.3.0", "gymnasium[classic-control,mujoco]"]],
    ),
    "d3rlpy": ("python3.11", [[TORCH, "d3rlpy==2.8.1"]]),
}
_VERSIONS = (
    "import json, platform, sys; from importlib.metadata import distributions; "
    "found = {d.metadata['name'].lower(): d.version for d in distributions()}; "
    "print(json.dumps({'python': platform.python_version()} | {name: found[name] for name in sys.argv[1:] if name in found}))"
)
_SHOWN = ("imitation", "robomimic", "d3rlpy", "ray", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3")
_LIMIT_S = 1200


class InstallError(Exception):
    """A library could not be installed; the message says why."""


def python_of(library: str, folder: Path) -> str:
    """Return the interpreter of a library's environment below `folder`, made if it is not there yet.

    Raises:
        InstallError: pip failed.
    """
    if library not in ENVIRONMENTS:
        return sys.executable  # RLlib is one of distil's own dependencies
    interpreter, installs = ENVIRONMENTS[library]
    python, done = folder / library / "bin" / "python", folder / library / "installed"
    if not done.exists():
        steps = [[interpreter, "-m", "venv", "--clear", str(folder / library)]]
        steps += [[str(python), "-m", "pip", "install", "-q", "--no-input", *packages] for packages in installs]
        for step in steps:
            if fault := attempt(step):
                raise InstallError(fault)
        done.touch()
    return str(python)


def versions_of(python: str) -> dict[str, str]:
    """Return the versions of an environment's packages that matter here."""
    output = subprocess.run([python, "-c", _VERSIONS, *_SHOWN], capture_output=True, text=True, check=True).stdout
    found: dict[str, str] = json.loads(output)
    return found


def attempt(command: list[str], cwd: Path | None = None, **environment: str) -> str:
    """Run a command; return its last line if it failed, else ""."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_LIMIT_S} s: {' '.join(command[3:])}"
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    lines = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}").splitlines()
    return lines[-1][:300] if done.returncode else ""
