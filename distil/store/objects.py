"""Stores in object storage (S3, Google Cloud, Azure, memory) through the `obstore` library and its conditional puts.

Credentials and endpoints come from the services' own environment variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, ...). A client doesn't survive fork(): start processes by spawn.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from distil.errors import InputError, RunError
from distil.store.filecache import FileCache, cache_folder
from distil.store.files import os_fault
from distil.store.location import Url
from distil.store.storage import StoredFile, check_ranges, check_touched

RENEW_S = 86_400.0  # a sealed shard older than this is copied when it is committed: objects can't be touched
_STREAM_BYTES = 4 << 20


class ObjectBackend:
    """A prefix in a bucket. Puts are atomic, and listings see what was put before (all the services above promise both)."""

    def __init__(self, root: Url) -> None:
        """Connect lazily; InputError when obstore isn't installed or the URL is invalid."""
        try:
            import obstore
            from obstore.store import MemoryStore, from_url
        except ImportError:
            raise InputError(f"{root}: object stores need obstore: pip install 'distil[remote]'") from None
        self._root, self._api = root, obstore
        self._id = hashlib.sha256(root.text.encode()).hexdigest()[:16]
        self._service_faults = (obstore.exceptions.BaseError, OSError, ValueError)
        if root.text.startswith("memory://"):  # of this process only
            self._store: Any = MemoryStore()
            return
        plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
        retry = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
        try:
            options = {"allow_http": True} if plain else {}
            self._store = from_url(root.text, retry_config=retry, client_options=options)  # type: ignore[call-overload]
        except self._service_faults as error:
            raise InputError(f"{root}: {_line(error)}; check the URL and the service's environment variables") from None

    @contextmanager
    def _faults(self, key: str, *, creates: bool = False) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if creates:  # what can't be found is the bucket
                raise RunError(f"{self._root / key}: {_line(error)}; check that the bucket exists") from None
            raise FileNotFoundError(f"{self._root / key}") from None
        except self._api.exceptions.AlreadyExistsError:
            raise FileExistsError(f"{self._root / key}") from None
        except self._service_faults as error:
            where = self._root / key
            raise RunError(f"{where}: {_line(error)}; check the network, the credentials and the endpoint") from None

    def get(self, key: str) -> bytes:
        """Return a whole object."""
        with self._faults(key):
            return bytes(self._api.get(self._store, key).bytes())

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of an object; near ones share a request."""
        with self._faults(key):
            parts = [bytes(part) for part in self._api.get_ranges(self._store, key, starts=list(starts), lengths=list(lengths))]
        check_ranges(parts, lengths, self._root / key)
        return parts

    def size(self, key: str) -> int:
        """Return an object's size."""
        return self._head(key)[0]

    def put(self, key: str, content: bytes) -> None:
        """Put."""
        with self._faults(key, creates=True):
            self._api.put(self._store, key, content, mode="overwrite")

    def put_if_absent(self, key: str, content: bytes) -> None:
        """Put with the condition that there is none (`If-None-Match: *`)."""
        with self._faults(key, creates=True):
            self._api.put(self._store, key, content, mode="create")

    def staging(self) -> Path:
        """Return a folder in the local cache."""
        folder = cache_folder() / "staging" / self._id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise os_fault(error, folder) from None
        return folder

    def publish(self, file: Path, key: str) -> None:
        """Upload, in parts when it is large."""
        with self._faults(key, creates=True):
            self._api.put(self._store, key, file)
        file.unlink()

    def list(self, folder: str) -> list[StoredFile]:
        """Return the objects directly below a prefix."""
        with self._faults(folder, creates=True):
            pages = [entry for page in self._api.list(self._store, f"{folder}/") for entry in page]
        items = (StoredFile(key=e["path"], num_bytes=e["size"], modified_s=e["last_modified"].timestamp()) for e in pages)
        return [item for item in items if "/" not in item.key.removeprefix(f"{folder}/")]

    def delete(self, key: str) -> None:
        """Delete."""
        try:
            with self._faults(key):
                self._api.delete(self._store, key)
        except FileNotFoundError:
            pass

    def _head(self, key: str) -> tuple[int, float]:
        """Return an object's size and age in seconds."""
        with self._faults(key):
            found = self._api.head(self._store, key)
        return int(found["size"]), time.time() - float(found["last_modified"].timestamp())

    def touch(self, key: str, num_bytes: int) -> str:
        """Return the key, or that of a copy when the object is older than `RENEW_S`."""
        size, age_s = self._head(key)
        check_touched(size, num_bytes, self._root / key)
        if age_s < RENEW_S:
            return key
        renewed = f"{key.removesuffix('.arrow')}-r{secrets.token_hex(4)}.arrow"
        with self._faults(key):
            self._api.copy(self._store, key, renewed)
        return renewed

    def withdraw(self, key: str, *, older_than_s: float) -> bool:
        """Delete an object that is older: commits copy old ones, so it can't be in the middle of one."""
        try:
            if time.time() - self._head(key)[1] >= older_than_s:
                return False
        except FileNotFoundError:
            return False
        self.delete(key)
        return True

    def local(self, key: str, num_bytes: int, digest: str) -> Path:
        """Return the copy in the cache, downloaded when there is none."""
        name = f"{self._id}-{digest}-{key.rsplit('/', 1)[-1]}"

        def blocks() -> Iterator[bytes]:
            with self._faults(key):
                for block in self._api.get(self._store, key).stream(min_chunk_size=_STREAM_BYTES):
                    yield bytes(block)

        return FileCache(cache_folder() / "shards").path(name, num_bytes, digest, blocks, where=str(self._root / key))


def _line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:200] or type(error).__name__
