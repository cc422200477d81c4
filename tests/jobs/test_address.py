from pathlib import Path

import pytest

from distil.errors import InputError
from distil.jobs.address import auth_token, dashboard_url, unused_ray_address

URL = "http://head:8265"


def test_the_option_goes_before_the_variable_and_ray_address_is_never_read() -> None:
    environment = {"RAY_API_SERVER_ADDRESS": "https://other/ray/", "RAY_ADDRESS": "head:6379"}
    assert dashboard_url(f"{URL}/", environment) == URL
    assert dashboard_url(f"{URL}/#/jobs", environment) == URL
    assert dashboard_url(None, environment) == "https://other/ray"
    with pytest.raises(InputError, match="no cluster is named: give --address"):
        dashboard_url(None, {"RAY_ADDRESS": "http://head:8265"})


def test_a_ray_address_that_differs_is_said() -> None:
    note = unused_ray_address(URL, {"RAY_ADDRESS": "head:6379"})
    assert note == "RAY_ADDRESS=head:6379 is not used: the job goes to http://head:8265"
    assert unused_ray_address(URL, {"RAY_ADDRESS": f"{URL}/"}) is None
    assert unused_ray_address(URL, {}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ray://head:10001", "such as http://head:8265, not to the address that ray.init takes"),
        ("head:6379", "such as http://head:8265, not to the address that ray.init takes"),
        ("auto", "such as http://HOST:8265"),
        ("http://:8265", "not a valid URL"),
        ("http://head:port", "not a valid URL"),
        ("http://head:8265?x=1", "not a valid URL"),
        ("http://me:secret@head:8265", "leave user and password out"),
    ],
)
def test_what_is_no_dashboard_is_told_the_url_that_is_wanted(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        dashboard_url(given, {})
    assert "secret" not in str(error.value)


def test_the_token_is_found_as_ray_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert auth_token({"RAY_AUTH_MODE": "token"}) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("of-home\n")
    (tmp_path / "file").write_text(" of-file\n")
    path = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "file")}
    assert auth_token({}) == "of-home"
    assert auth_token(path) == "of-file"
    assert auth_token({**path, "RAY_AUTH_TOKEN": "of-variable"}) == "of-variable"
    assert auth_token({**path, "RAY_AUTH_MODE": "disabled"}) is None


def test_a_token_that_cannot_be_one_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        auth_token({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})
    with pytest.raises(InputError) as error:
        auth_token({"RAY_AUTH_TOKEN": "secret\r\nX-Header:1"})
    assert "secret" not in str(error.value)
