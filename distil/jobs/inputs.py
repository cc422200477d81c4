"""What a job reads from the project: each file, and each module of the user's, must be among those that travel."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distil.config import public
from distil.content import with_imported_files
from distil.errors import InputError
from distil.experts.team import SeveralExpertsConfig
from distil.jobs.package import Package
from distil.rewards.given_config import GivenConfig
from distil.runconfig import RunConfig


def require_files(package: Package, folder: Path, files: Mapping[str, str]) -> None:
    """Check that the files that a job reads travel with it.

    Args:
        package: what travels.
        folder: the project's.
        files: path -> what names it. Absolute ones must be on every node, which cannot be known here.

    Raises:
        InputError: one does not travel, or is named by an absolute path in the project.
    """
    for path, what in files.items():
        inside = Path(os.path.normpath(folder / path))
        if not inside.is_relative_to(folder):
            if Path(path).is_absolute():
                continue
            raise InputError(f"{what}: {path} is outside of {folder}, whose files travel: submit from a folder that holds it")
        name = inside.relative_to(folder).as_posix()
        if Path(path).is_absolute():
            raise InputError(f"{what}: {path} is not on the cluster; its copy there has the relative path: write {name}")
        if name not in package.files:
            why = f" ({package.left_out[name]})" if name in package.left_out else ""
            raise InputError(
                f"{what}: {name} does not travel with the job{why}: track it with `git add -f {name}`, or put it on the shared "
                "path and give its absolute path"
            )


def expert_files(config: RunConfig) -> dict[str, str]:
    """Return the files of a run's experts: path -> what names it; InputError if one is not there. Without absolute paths."""
    expert, found = config.expert, dict[str, str]()
    members = expert.members if isinstance(expert, SeveralExpertsConfig) else {"": expert}
    for name, member in members.items():
        path = getattr(member, "path", None)
        if path is None or member is None or config.env is None:
            continue
        what = f"expert.members.{name}.path" if name else "expert.path"
        if Path(path).is_absolute():
            if Path(path).is_relative_to(Path.cwd()):
                found[path] = what
        else:
            found |= dict.fromkeys(member.content(config.env).files, what)
    return found


def reward_files(config: RunConfig) -> dict[str, str]:
    """Return the file of the reward that a run is given: path -> what names it; InputError if it is not there."""
    reward = getattr(config.algorithm, "reward", None)
    if not isinstance(reward, GivenConfig):
        return {}
    if not Path(reward.path).is_absolute():
        return {str(reward.file): "algorithm.reward.path"}
    return {reward.path: "algorithm.reward.path"} if Path(reward.path).is_relative_to(Path.cwd()) else {}


def module_files(config: RunConfig, folder: Path) -> tuple[dict[str, str], set[str]]:
    """Return the files of the user's modules, with those that they import, and the packages that the cluster must have.

    Raises:
        InputError: a module is neither in `folder` nor installed here.
    """
    files, installed = dict[str, str](), set[str]()
    for target in dict.fromkeys(_targets(public(config))):
        module = target.partition(":")[0]
        top = module.partition(".")[0]
        place = folder.joinpath(*module.split("."))
        file = next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
        if file is not None:
            packages = [
                folder.joinpath(*module.split(".")[:depth]) / "__init__.py" for depth in range(1, module.count(".") + 1)
            ]
            starts = [file, *filter(Path.is_file, packages)]
            found = {path for start in starts for path in with_imported_files(start, [folder]).values()}
            files |= {path.relative_to(folder).as_posix(): f"target {target}" for path in sorted(found)}
        elif top in ("distil", *sys.stdlib_module_names):
            continue
        elif folder.joinpath(top).is_dir() or folder.joinpath(f"{top}.py").is_file() or importlib.util.find_spec(top) is None:
            raise InputError(f"target {target!r}: no module named {module!r}; is it installed or in this folder?")
        else:
            installed.add(top)
    return files, installed


def _targets(data: Any) -> Iterator[str]:
    """Yield the imported objects `package.module:name` of a configuration, and modules of environments `module:Name-v0`."""
    if isinstance(data, dict):
        for key, value in data.items():
            if isinstance(value, str) and key in ("target", "id") and ":" in value:
                yield value
            else:
                yield from _targets(value)
    elif isinstance(data, Iterable) and not isinstance(data, str):
        for value in data:
            yield from _targets(value)
