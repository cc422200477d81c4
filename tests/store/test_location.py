from __future__ import annotations

from pathlib import Path

import pytest

from distil.errors import InputError
from distil.store.location import Url, location


def test_a_folder_or_an_address() -> None:
    assert location("a/b") == Path("a/b")
    address = location("s3://bucket/demos/")
    assert address == Url("s3://bucket/demos")
    assert str(address / "data") == "s3://bucket/demos/data"
    assert (address / "data").name == "data"
    assert location(address) is address.resolve() is address


@pytest.mark.parametrize(("text", "message"), [("ftp://a/b", "no store of kind ftp://"), ("s3:///", "no bucket in it")])
def test_other_addresses_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        location(text)


@pytest.mark.parametrize("address", ["s3://me:hunter22@bucket/x", "gs://bucket/x?X-Goog-Signature=hunter22"])
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InputError, match="set it in the environment") as caught:
        location(address)
    assert "hunter22" not in str(caught.value)
