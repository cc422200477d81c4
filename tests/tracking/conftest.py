from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"  # making one takes seconds, so the tests share it


@pytest.fixture
def uri(database: Path) -> str:
    return f"sqlite:///{database}"
