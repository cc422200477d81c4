from __future__ import annotations

from pathlib import Path

import pytest

from distil.store.budget import available_bytes, parse_bytes, share_out


def test_sizes_are_numbers_with_or_without_a_unit() -> None:
    sizes = {"8GiB": 8 << 30, "500 MB": 500_000_000, "1.5kb": 1500, "77": 77, "x": 0, "3 bananas": 0}
    assert {text: parse_bytes(text) for text in sizes} == sizes
    assert parse_bytes(77) == 77


@pytest.mark.parametrize(
    ("needs", "shares"),
    [([10], [100]), ([10, 20], [10, 90]), ([200, 10, 300], [45, 10, 45]), ([500, 500], [50, 50]), ([], [])],
)
def test_a_store_gets_what_it_needs_or_as_much_as_any_other(needs: list[int], shares: list[int]) -> None:
    assert share_out(100, needs) == shares


@pytest.mark.parametrize(("limit", "want"), [("100000", 100_000 - 90_000 + 60_000), ("50000", 20_000), ("max", None)])
def test_a_control_group_limits_what_is_free_and_its_cached_files_are_free(
    tmp_path: Path, limit: str, want: int | None
) -> None:
    for name, text in (("max", limit), ("current", "90000"), ("stat", "anon 30000\nfile 60000\ninactive_file 60000")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    found = available_bytes(tmp_path)
    assert found == want if want is not None else found > 100_000
