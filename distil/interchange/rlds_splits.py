"""The splits of an RLDS dataset and their files, in TensorFlow Datasets' words: `train`, `train[:10%]`, `train+val`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distil.errors import InputError, RunError
from distil.interchange.tfrecord import records

_FILE = re.compile(r"[^-]+-(?P<split>[\w-]+)\.tfrecord-(?P<number>\d+)-of-(?P<count>\d+)")
_PART = re.compile(r"(?P<name>[\w-]+)(?:\[(?P<first>-?\d+%?)?:(?P<end>-?\d+%?)?\])?")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split's files, and which of its episodes are taken."""

    name: str
    files: tuple[Path, ...]
    num_episodes: int  # in all of its files
    first: int
    end: int

    def episodes(self) -> Iterator[tuple[int, Path, bytes]]:
        """Yield number in the split, file and record of each episode.

        Raises:
            RunError: there are fewer episodes than dataset_info.json says, or more.
        """
        number = 0
        for file in self.files:
            for data in records(file):
                if number >= self.num_episodes:
                    raise RunError(
                        f"{file}: the split has more than the {self.num_episodes} episodes that dataset_info.json says; "
                        "restore both from a copy, or remove dataset_info.json to take all"
                    )
                if number >= self.end:
                    return
                if self.first <= number < self.end:
                    yield number, file, data
                number += 1
        if number < self.end:
            raise RunError(
                f"{self.files[-1]}: the split has {number} episodes, dataset_info.json says {self.num_episodes}; "
                "restore the files from a copy"
            )


def parts(source: Path, split: str) -> list[Part]:
    """Return the parts that `split` names, in its order; InputError names the splits that there are."""
    found = _files(source)
    if not found:
        raise InputError(f"{source}: it has no TFRecord files; prepare it with file_format=tfrecord")
    out = []
    for word in sorted(found) if split == "all" else split.split("+"):
        match = _PART.fullmatch(word.strip())
        if match is None or match["name"] not in found:
            has = f"its splits are {', '.join(sorted(found))}"
            raise InputError(f"{source}: no split {word.strip()!r}; {has} (also split=all, split=A+B, split='A[:10%]')")
        files = found[match["name"]]
        num = _num_episodes(source, match["name"], files)
        first, end = (_bound(match[side], num, default) for side, default in (("first", 0), ("end", num)))
        out.append(Part(name=match["name"], files=files, num_episodes=num, first=first, end=end))
    return out


def _files(source: Path) -> dict[str, tuple[Path, ...]]:
    """Return split -> its files in order; InputError when one of them is missing."""
    shards: dict[str, dict[int, Path]] = {}
    counts: dict[str, int] = {}
    for file in source.glob("*.tfrecord-*"):
        if match := _FILE.fullmatch(file.name):
            shards.setdefault(match["split"], {})[int(match["number"])] = file
            counts[match["split"]] = int(match["count"])
    for name, numbered in shards.items():
        if missing := [number for number in range(counts[name]) if number not in numbered]:
            raise InputError(
                f"{source}: split {name} lacks {len(missing)} of its {counts[name]} files (number {missing[0]}); fetch them"
            )
    return {name: tuple(numbered[i] for i in sorted(numbered)) for name, numbered in shards.items()}


def _num_episodes(source: Path, name: str, files: tuple[Path, ...]) -> int:
    """Return how many episodes a split has: as dataset_info.json says, or counted."""
    try:
        splits = json.loads((source / "dataset_info.json").read_bytes())["splits"]
        return next(sum(int(length) for length in item["shardLengths"]) for item in splits if item["name"] == name)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return sum(1 for file in files for _ in records(file))


def _bound(text: str | None, num: int, default: int) -> int:
    if text is None:
        return default
    value = round(int(text[:-1]) * num / 100) if text.endswith("%") else int(text)
    return min(max(value + num if value < 0 else value, 0), num)
