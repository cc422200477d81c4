"""Which cluster a job goes to, and the token that its dashboard asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from distil.errors import InputError
from distil.redaction import redact_address

ADDRESS, RAY_ADDRESS = "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_PORT = 8265  # of the dashboard, unless it was started with another one


def dashboard_url(given: str | None, environment: Mapping[str, str]) -> str:
    """Return the URL of the dashboard that `--address` names, or RAY_API_SERVER_ADDRESS; InputError if it is no such URL.

    RAY_ADDRESS, which usually names another port of the same head node, is never read.
    """
    text = (given or environment.get(ADDRESS, "")).strip().partition("#")[0].rstrip("/")  # a browser shows http://HOST:8265/#/
    if not text:
        raise InputError(f"no cluster is named: give --address http://HOST:{_PORT}, or set {ADDRESS}")
    shown = redact_address(text)
    scheme, mark, rest = text.partition("://")
    host = (rest if mark else text).rpartition("@")[2].partition("/")[0].partition(":")[0]
    host = "HOST" if host in ("", "auto", "local", "localhost") and not mark else host
    wanted = f"a job goes to the URL of the cluster's dashboard, such as http://{host or 'HOST'}:{_PORT}"
    if not mark or scheme not in ("http", "https"):
        raise InputError(f"--address {shown}: {wanted}, not to the address that ray.init takes")
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in text):
        raise InputError(f"--address {shown}: not a valid URL; {wanted}")
    if parts.username is not None:
        raise InputError(f"--address {shown}: leave user and password out; a token is read from {TOKEN_PATH} or {TOKEN}")
    return text


def unused_ray_address(url: str, environment: Mapping[str, str]) -> str | None:
    """Return a note if RAY_ADDRESS is set and is not the URL that the job goes to."""
    other = environment.get(RAY_ADDRESS, "").strip().rstrip("/")
    return f"{RAY_ADDRESS}={redact_address(other)} is not used: the job goes to {url}" if other not in ("", url) else None


def auth_token(environment: Mapping[str, str]) -> str | None:
    """Return the cluster's token as Ray finds it: RAY_AUTH_TOKEN, the file of RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token.

    None: there is none, or RAY_AUTH_MODE is set to something else than `token`.

    Raises:
        InputError: the file that is named cannot be read, or does not hold a token. The token is never shown.
    """
    if environment.get(MODE, "token").lower() != "token":
        return None
    if token := environment.get(TOKEN, "").strip():
        return _checked(token, TOKEN)
    given = environment.get(TOKEN_PATH)
    path = Path(given).expanduser() if given else Path.home() / ".ray" / "auth_token"
    if not given and not path.is_file():
        return None
    try:
        return _checked(path.read_text().strip(), f"{TOKEN_PATH}={path}" if given else str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise InputError(f"{TOKEN_PATH}={path}: the token cannot be read ({reason})") from None


def _checked(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{where}: no token there, or more than one word; `ray get-auth-token --generate` makes one")
    return token
