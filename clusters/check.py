"""Looks for mistakes in the files of a cluster before anything is applied: one line for each, and exit code 2 if there is one.

python clusters/check.py FILE_OR_FOLDER... [--recipe RECIPE] [--root PATH]

It finds values that are still placeholders (`CHANGE-ME-...`) in files of any kind; in Kubernetes' files, pods that ask for GPUs
and have a CPU image, and runs of a RayJob that write where no other pod sees it; with --recipe, the same of a recipe.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SHARED = "/shared"  # where the documentation has the shared folder
_PLACEHOLDER = re.compile(r"CHANGE-ME[\w-]*")
_COMMENT = re.compile(r"(^|\s)#(?!SBATCH\b).*")
_YAML = (".yaml", ".yml")
_SUFFIXES = (*_YAML, ".sh", ".sbatch", ".slurm")
_CPU = re.compile(r"(?<![a-z0-9])cpu(?![a-z0-9])")
_IMAGE = re.compile(r"(?P<name>.*?)(:(?P<tag>[^/:@]+))?(@.*)?")


class Text(str):
    """A string of a YAML file that knows its line."""

    line = 0


class _Loader(yaml.SafeLoader):
    """Plain data, whose strings know their lines."""


def _text(loader: _Loader, node: yaml.ScalarNode) -> Text:
    text = Text(loader.construct_scalar(node))
    text.line = node.start_mark.line + 1
    return text


_Loader.add_constructor("tag:yaml.org,2002:str", _text)


@dataclass(frozen=True)
class Pods:
    """The pods of a group."""

    name: str
    spec: Mapping[str, Any]  # a PodSpec

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Its containers."""
        return [one for one in self.spec["containers"] if isinstance(one, dict)]

    @property
    def shared(self) -> set[str]:
        """Where its containers see volumes that are claimed, and so may be shared with other pods."""
        claims = {volume.get("name") for volume in self.spec.get("volumes") or () if "persistentVolumeClaim" in volume}
        mounts = [mount for one in self.containers for mount in one.get("volumeMounts") or ()]
        return {str(mount.get("mountPath")) for mount in mounts if mount.get("name") in claims}


class Files:
    """What the files say, and what is wrong with them. Mutable: it grows while they are read."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.paths: set[Path] = set()
        self.documents: list[tuple[Path, Mapping[str, Any]]] = []  # of YAML

    def add(self, path: Path, named_by: str = "") -> None:
        """Read a file, or the files of a folder, and those that a kustomization among them refers to."""
        path = Path(os.path.relpath(path.resolve())) if path.exists() else path
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_file() and file.suffix in _SUFFIXES:
                    self.add(file)
        elif not path.is_file():
            self.complaints.append(
                f"{named_by or path}: no such file or folder{f': {path}' if named_by else ''}; check its name"
            )
        elif path not in self.paths:
            self.paths.add(path)
            self._look_into(path)

    def _look_into(self, path: Path) -> None:
        found: list[Mapping[str, Any]] = []
        try:
            text = path.read_text()
            self.complaints += placeholders(path, text)
            if path.suffix in _YAML:
                found = [data for data in yaml.load_all(text, _Loader) if isinstance(data, dict)]
        except (OSError, UnicodeDecodeError) as error:
            self.complaints.append(f"{path}: cannot be read ({error}); give a text file")
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            self.complaints.append(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}; correct it")
        self.documents += [(path, data) for data in found]
        for data in found if path.stem == "kustomization" else ():
            for name in (*(data.get("resources") or ()), *(data.get("components") or ())):
                if isinstance(name, Text) and "://" not in name:
                    self.add(path.parent / name, f"{path}:{name.line}")

    def pods(self) -> Iterator[tuple[Path, Pods]]:
        """Yield the groups of pods."""
        yield from ((path, pods) for path, data in self.documents for pods in find_pods(data))

    def shared(self) -> set[str]:
        """Return where pods see a shared volume; without pods, where the documentation has it."""
        return set[str]().union(*(pods.shared for _, pods in self.pods())) or {SHARED}

    def images(self) -> dict[str, Mapping[str, str]]:
        """Return what kustomizations put in place of an image's name and tag."""
        found = [data.get("images") or () for path, data in self.documents if path.stem == "kustomization"]
        return {image["name"]: image for images in found for image in images}


def placeholders(path: Path, text: str) -> Iterator[str]:
    """Yield a complaint for each placeholder outside of comments; Slurm's options are in comments."""
    for number, line in enumerate(text.splitlines(), start=1):
        for name in _PLACEHOLDER.findall(_COMMENT.sub("", line)):
            yield f"{path}:{number}: {name} is a placeholder: replace it with your own value"


def find_pods(data: Any, name: str = "") -> Iterator[Pods]:
    """Yield the pods that are described anywhere in a document, with the name of their group."""
    if isinstance(data, dict):
        name = data.get("groupName") or name
        if isinstance(data.get("containers"), list):
            yield Pods(name, data)
        for key, value in data.items():
            yield from find_pods(value, "head" if key == "headGroupSpec" else name)
    elif isinstance(data, list):
        for value in data:
            yield from find_pods(value, name)


def gpu_complaints(files: Files) -> Iterator[str]:
    """Yield a complaint for each container that asks for GPUs and has an image that says `cpu`."""
    renamed = files.images()
    for path, pods in files.pods():
        for container in pods.containers:
            resources = container.get("resources") or {}
            asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
            image = container.get("image")
            if not isinstance(image, Text) or not any(key.endswith("/gpu") and str(num) != "0" for key, num in asked.items()):
                continue
            parts = _IMAGE.fullmatch(image)
            assert parts is not None, "it matches any text"
            new = renamed.get(parts["name"], {})
            name, tag = new.get("newName", parts["name"]), new.get("newTag", parts["tag"])
            if _CPU.search(f"{name.rpartition('/')[2]}:{tag}"):
                yield (
                    f"{path}:{image.line}: group {pods.name or 'of these pods'} asks for GPUs and has the CPU image "
                    f"{name}{f':{tag}' if tag else ''}: use one that was built with DEVICE=cuda"
                )


def job_complaints(files: Files, shared: set[str]) -> Iterator[str]:
    """Yield what is wrong with the runs of RayJobs."""
    for path, data in files.documents:
        entrypoint = (data.get("spec") or {}).get("entrypoint") if data.get("kind") == "RayJob" else None
        if isinstance(entrypoint, Text):
            where = f"{path}:{entrypoint.line}"
            try:
                words = shlex.split(entrypoint)
            except ValueError as error:
                yield f"{where}: the entrypoint is no command ({error}); close its quotation marks"
                continue
            if "distil" in words and (start := next((i for i, word in enumerate(words) if word in ("train", "collect")), 0)):
                recipe, *others = [*_without_options(words[start + 1 :]), ""]
                yield from path_complaints(where, recipe, others[:-1], shared)


def _without_options(words: Sequence[str]) -> list[str]:
    """Return the recipe and the overrides among the arguments of a command."""
    return [word for before, word in zip(["", *words], words, strict=False) if not word.startswith("--") and before != "--run"]


def path_complaints(
    where: str, recipe: str, overrides: Sequence[str], shared: set[str], root: str | None = None
) -> Iterator[str]:
    """Yield a complaint for each path of a recipe that is not on a shared volume.

    Args:
        where: what complaints begin with.
        recipe: a shipped one or a file; a file on the shared volume may be out of sight here, and is not looked at then.
        overrides: `key=value`.
        shared: folders that all pods see.
        root: the home of relative paths; None: they have none.
    """
    from distil.cli.common import read_overrides
    from distil.errors import InputError
    from distil.jobs.paths import Homes, homes
    from distil.runconfig import load_config

    if Path(recipe).is_absolute() and not Path(recipe).exists():
        return
    volumes = ", ".join(sorted(shared))
    try:
        config = load_config(recipe, read_overrides(tuple(overrides)))
        found, home = list[tuple[str, str]](), Homes(root)

        def look(key: str, path: str) -> str:
            found.append((key, home(key, path)))
            return path

        homes(config, look)
        better = homes(config, Homes(min(shared)))
    except InputError as error:
        yield f"{where}: {error}"
        return
    for key, path in found:
        if not any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in shared):
            fix = f"set {key}={better[key]}" if key in better else f"set {key} to a path below {min(shared)}"
            yield f"{where}: {key}={path} is not on the shared volume ({volumes}): {fix}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is wrong; return the exit code."""
    parser = argparse.ArgumentParser(description="Looks for mistakes in the files of a cluster before anything is applied.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="of the cluster")
    parser.add_argument("--recipe", help="that is to run there: a shipped one or a file")
    parser.add_argument("--root", help="a shared folder: the home of the recipe's relative paths, as of `distil submit --root`")
    given = parser.parse_args(arguments)
    files = Files()
    for path in given.paths:
        files.add(path)
    shared = files.shared() | ({given.root} if given.root else set())
    complaints = [*files.complaints, *gpu_complaints(files), *job_complaints(files, shared)]
    if given.recipe:
        complaints += path_complaints(f"recipe {given.recipe}", given.recipe, (), shared, given.root)
    for complaint in complaints:
        sys.stderr.write(f"{complaint}\n")
    if not complaints:
        sys.stdout.write(f"{len(files.paths)} files: nothing to correct\n")
    return 2 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
