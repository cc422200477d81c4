"""Passwords in addresses are never written and never shown; `***` replaces each of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

HIDDEN = "***"

_USER = r"([A-Za-z][A-Za-z0-9+.-]*)://([^\s:/@'\"]*):({})@"  # scheme://user:password@
_IN_TEXT, _ALONE = re.compile(_USER.format(r"[^\s'\"]*")), re.compile(_USER.format(".*"), re.DOTALL)
_TOKEN = re.compile(r"(https?)://([^\s:/@'\"]+)@")  # a web address with a user and no password: the user is a token
_FIELD = re.compile(
    r"([?&][\w.-]*(?:pass|pwd|token|secret|key|sig|auth|credential)[\w.-]*=)([^&\s'\"]+)", re.IGNORECASE
)  # ?password=
_SHORTEST = 4  # characters; a shorter password is replaced only inside its address

_known: set[str] = set()  # per process: passwords that a library's error may repeat outside the address


def remember(address: str) -> None:
    """Make `redact` replace the passwords of this address outside the address too."""
    found = [match[3] for match in _ALONE.finditer(address)]
    found += [match[2] for pattern in (_TOKEN, _FIELD) for match in pattern.finditer(address)]
    _known.update(text for secret in found for text in (secret, unquote(secret)) if len(text) >= _SHORTEST and text != HIDDEN)


def redact(text: str) -> str:
    """Return a text with the passwords of its addresses, and those passed to `remember`, replaced."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _without(text, _IN_TEXT)


def redact_address(address: str) -> str:
    """Return one address with its password replaced, whatever characters the password contains."""
    return _without(address, _ALONE)


def redact_all(data: Any) -> Any:
    """Return JSON data with the passwords of all addresses in it replaced."""
    if isinstance(data, dict):
        return {key: redact_all(value) for key, value in data.items()}
    if isinstance(data, list):
        return [redact_all(value) for value in data]
    return redact_address(data) if isinstance(data, str) else data


def _without(text: str, user: re.Pattern[str]) -> str:
    text = user.sub(rf"\1://\2:{HIDDEN}@", text)
    text = _TOKEN.sub(rf"\1://{HIDDEN}@", text)
    return _FIELD.sub(rf"\1{HIDDEN}", text) if "://" in text else text


def is_redacted(address: str) -> bool:
    """Return whether `redact` removed a password from this address, which makes it unusable."""
    return f":{HIDDEN}@" in address or f"://{HIDDEN}@" in address or f"={HIDDEN}" in address
