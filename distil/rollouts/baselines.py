"""The cache of baselines: how experts and the random policy do on fixed episodes, kept on disk for all runs.

runs/baselines/
  <key>.json      one result: seeds, returns, lengths, successes, and a checksum
  .<key>.lock     held by the process that measures it; others wait for its result

The key is a hash of all that decides the result, so an entry is never out of date. Delete the folder to measure again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distil.durable import make_folders, replace_durably
from distil.errors import RunError
from distil.rollouts.evaluation import EvalResult
from distil.store.files import dump_json, parse_json
from distil.types import Progress, say, silent

FORMAT = 1  # part of each key; increase it when the same configuration and seeds give other episodes


class BaselineCache:
    """Results on disk, one durable file a key; processes that need the same result at once measure it once.

    Args:
        folder: gets the files; made when the first result is measured.
        progress: shown what is reused, damaged or not kept.
    """

    def __init__(self, folder: Path, progress: Progress = silent) -> None:
        self._folder, self._progress, self._has_told = folder, progress, False

    def get(self, key: Mapping[str, Any], name: str, measure: Callable[[], EvalResult]) -> EvalResult:
        """Return the result of a key: from disk, or measured and then kept.

        A damaged file is measured again. Where nothing can be written, the result is not kept; both are shown in one line.

        Args:
            key: all that decides the result, as JSON data.
            name: what is measured, for notes and for readers of the file, such as `expert LunarLander-v3`.
            measure: measures it; its errors are passed on, and nothing is kept then.
        """
        digest = hashlib.sha256(json.dumps({"format": FORMAT, **key}, sort_keys=True).encode()).hexdigest()[:32]
        path = self._folder / f"{digest}.json"
        with self._lock(path.with_name(f".{digest}.lock"), name):
            found = self._read(path, digest)
            if found is None:
                found = measure()
                self._write(path, {"key": digest, "name": name, "result": found.to_json()})
            elif not self._has_told:
                self._has_told = True
                say(self._progress, f"scores of expert and random policy: from {self._folder}; delete it to measure them again")
        return found

    def _read(self, path: Path, digest: str) -> EvalResult | None:
        try:
            data = parse_json(path.read_bytes(), path)
            if data["key"] != digest:
                raise RunError(f"{path}: holds another key's result")
            return EvalResult.from_json(data["result"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RunError, KeyError, TypeError, ValueError):
            say(self._progress, f"{path}: damaged or not readable; measured again")
            return None

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        try:
            replace_durably(path, dump_json(data))
        except ValueError:  # a return is NaN or infinite, which JSON has no number for
            say(self._progress, f"{data['name']}: a return is not finite; the result is not kept in {self._folder}")
        except OSError as error:
            say(self._progress, f"{path}: not kept ({error.strerror}); the next run measures it again")

    @contextmanager
    def _lock(self, path: Path, name: str) -> Iterator[None]:
        """Hold a key's lock, so that one process measures; where no file can be made, there is none."""
        try:
            make_folders(self._folder)
            file = path.open("w")
        except OSError:
            file = None
        if file is None:
            yield
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(self._progress, f"{name}: another process measures it; waiting for the result")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
