"""Where a store is: a local folder, or a prefix in an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from distil.errors import InputError
from distil.redaction import redact_address

SCHEMES = ("s3", "gs", "az", "memory")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True, order=True)
class Url:
    """The address of something in an object store. It joins like a path; `str` gives the text that `Store.open` takes."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.text.rsplit("/", 1)[-1]

    def resolve(self) -> Url:
        """Return itself: it is absolute."""
        return self


Location = Path | Url


def location(text: str | Path | Url) -> Location:
    """Return a folder's path, or a URL of one of `SCHEMES`; InputError for any other scheme."""
    match = _URL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return text if isinstance(text, Url) else Path(text)
    shown = redact_address(match[0])
    if shown != match[0]:
        raise InputError(
            f"{shown}: an address must not hold a password, which would be stored with the data; set it in the "
            "environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    scheme, rest = match[1], match[2].strip("/")
    if scheme not in SCHEMES:
        raise InputError(f"{text}: no store of kind {scheme}://; use a folder, or one of {', '.join(SCHEMES)}")
    if not rest:
        raise InputError(f"{text}: no bucket in it; write {scheme}://BUCKET/FOLDER")
    return Url(f"{scheme}://{rest}")
