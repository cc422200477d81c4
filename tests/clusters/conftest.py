"""The objects of clusters/kuberay, built once."""

from __future__ import annotations

import pytest
from kuberaybed import FOLDERS, Object, build, with_values


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """What each folder's `kubectl apply -k` sends, with the values filled in."""
    folder = with_values(tmp_path_factory.mktemp("values"))
    return {name: build(folder / name) for name in FOLDERS}


@pytest.fixture(scope="session")
def cluster(built: dict[str, list[Object]]) -> Object:
    return built["cluster"][0]


@pytest.fixture(scope="session")
def job(built: dict[str, list[Object]]) -> Object:
    return built["job"][0]
