from pathlib import Path

import pytest
from rundatabed import fill


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two stores: 4 episodes, and 3 others."""
    fill(tmp_path, "a", 4)
    fill(tmp_path, "b", 3, seed=1)
    return tmp_path
