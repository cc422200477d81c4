"""The page: complete, self-contained, small."""

from __future__ import annotations

import re
from dataclasses import replace

from rewardpagebed import study_of

from distil.rewardpage.page import MISLEAD, render
from distil.rewards.config import CoherentConfig


def test_a_table_has_all_parts() -> None:
    text = render(study_of("grid"))
    for part in ("Along episodes", "Over the states", "Distance to the true reward"):
        assert f"<h2>{part}</h2>" in text
    assert MISLEAD in text
    assert "EPIC and DARD are left out" not in text
    assert text.count("log-density of a clone") == 2


def test_numbers_have_a_slice() -> None:
    found = study_of("pendulum")
    text = render(found)
    assert f"<h2>A slice over {found.slice.names[0]} and obs[2]</h2>" in text
    assert "The rest is at the medians of demonstrations" in text
    assert "EPIC and DARD are left out" in text
    assert "own episode 1</b>" in text


def test_it_requests_nothing_and_runs_no_script() -> None:
    for name in ("grid", "pendulum"):
        text = render(study_of(name))
        assert "<script" not in text
        assert "default-src 'none'" in text
        assert set(re.findall(r"https?://|url\([^)]*\)|@import|src=|href=\"[^\"]*", text)) == {"url(#hatch)", 'href="data:,'}
        assert len(text) < 500_000


def test_an_implied_reward_is_labelled(monkeypatch) -> None:
    found = study_of("pendulum")
    assert "contains the dynamics" not in render(found)
    ref = replace(found.function.ref, spec=replace(found.function.ref.spec, config=CoherentConfig()))
    monkeypatch.setattr(found.function, "ref", ref)
    assert "contains the dynamics that it was learned in" in render(found)
