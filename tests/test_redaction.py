import pytest

from distil import redaction
from distil.redaction import is_redacted, redact, redact_address, redact_all, remember


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())


ADDRESSES = {
    "postgresql://me:hunter22@db:5432/mlflow": "postgresql://me:***@db:5432/mlflow",
    "mysql+pymysql://me:hunter22@db/mlflow?charset=utf8": "mysql+pymysql://me:***@db/mlflow?charset=utf8",
    "https://me:hunter22@mlflow.example.org": "https://me:***@mlflow.example.org",
    "https://hunter22@mlflow.example.org": "https://***@mlflow.example.org",
    "https://host/?api_token=hunter22&x=1": "https://host/?api_token=***&x=1",
    "postgresql://host/db?user=me&password=hunter22": "postgresql://host/db?user=me&password=***",
    "postgresql://:hunter22@host/db": "postgresql://:***@host/db",
    "postgresql://me:hunter22/a@b?c@host/db": "postgresql://me:***@host/db",
    "s3://b/x?X-Amz-Signature=hunter22&X-Amz-Credential=hunter22": "s3://b/x?X-Amz-Signature=***&X-Amz-Credential=***",
    "postgresql://me@host/db": "postgresql://me@host/db",
    "sqlite:////data/mlflow.db": "sqlite:////data/mlflow.db",
    "http://127.0.0.1:5000": "http://127.0.0.1:5000",
    "s3://bucket/folder": "s3://bucket/folder",
    "what?key=no": "what?key=no",
}


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items())
def test_a_password_is_removed_from_an_address_and_from_a_text(address: str, shown: str) -> None:
    assert redact_address(address) == shown
    assert redact(f"MLflow at {address} 'refused'") == f"MLflow at {shown} 'refused'"
    assert redact_all({"a": [address, 1], "b": {"c": address, "d": None}}) == {"a": [shown, 1], "b": {"c": shown, "d": None}}
    assert is_redacted(shown) == (address != shown)
    assert not is_redacted(address)


@pytest.mark.parametrize("password", ["hun ter22", "hun'ter22", 'hun"ter22', "hunter22\n"])
def test_unusual_characters_hide_no_password(password: str) -> None:
    assert redact_address(f"postgresql://me:{password}@host/db") == "postgresql://me:***@host/db"


def test_a_password_repeated_outside_its_address_is_removed() -> None:
    remember("postgresql://me:hunter%2022@host/db?token=abcdefgh")
    assert redact("login 'hunter 22' (hunter%2022) of me, abcdefgh: no") == "login '***' (***) of me, ***: no"
    remember("postgresql://me:db@host/db")  # too short to be replaced everywhere
    assert redact("the db host") == "the db host"
