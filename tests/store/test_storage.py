from __future__ import annotations

from pathlib import Path

import pytest

from distil.errors import RunError
from distil.store.storage import check_ranges


def test_parts_must_have_the_length_that_was_asked_for() -> None:
    check_ranges([b"ab", b""], [2, 0], Path("a.arrow"))
    with pytest.raises(RunError, match=r"a\.arrow: shorter than the manifest says"):
        check_ranges([b"ab", b"c"], [2, 2], Path("a.arrow"))
