"""The page: complete, self-contained, small."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from comparebed import config, record

from distil.compare.comparison import compare
from distil.compare.page import MAX_BYTES, Film, render, write
from distil.compare.record import Point, RunRecord
from distil.errors import InputError


def comparison(num_methods: int = 3, num_seeds: int = 5):
    runs = [
        record(f"m{i}", seed, 300.0 + 20 * i + seed, tuned=(100.0, 200.0), data__episodes=i + 1, labels=1000.0 * (i + 1))
        for i in range(num_methods)
        for seed in range(num_seeds)
    ]
    return compare(runs)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.attributes += [(f"{tag}.{name}", value or "") for name, value in attrs]
        if tag not in ("meta", "link", "wbr", "line", "polyline", "polygon"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.attributes += [(f"{tag}.{name}", value or "") for name, value in attrs]

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_the_page_has_all_parts() -> None:
    text = render(comparison())
    for part in ("Methods", "Differences", "Curves", "Parameters that differ", "Runs", "How to read this"):
        assert f"<h2>{part}</h2>" in text
    assert "m2 is better than both others" in text
    assert text.count("<circle") >= 15


def test_it_requests_nothing_and_runs_no_script() -> None:
    tags = parsed(render(comparison(), [Film(group="x", title="a", caption="b", mp4=b"x")]))
    addresses = [
        value for name, value in tags.attributes if name.rpartition(".")[2] in ("src", "href", "srcset", "action", "data")
    ]
    assert addresses == ["data:,", "data:video/mp4;base64,eA=="]
    text = render(comparison())
    assert "<script" not in text
    assert not re.search(r"https?://|url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_single_run_without_references_and_a_tie_of_equal_scores() -> None:
    point = Point(held_out=True, score=5.0, budget={"expert_labels": 7.0})
    alone = RunRecord(name="a", config=config(env=None), points=[point])
    text = render(compare([alone]))
    parsed(text)
    assert "there is no other method to compare it with" in text
    equal = [record(name, seed, 500.0, data__episodes=i + 1) for i, name in enumerate("ab") for seed in range(5)]
    text = render(compare(equal))
    parsed(text)
    assert "nan" not in text
    assert "tied with" in text


def test_parameters_have_six_digits() -> None:
    runs = [record(f"m{seed}", seed, 5.0, learner__learning_rate=0.00833909532534776 + seed) for seed in range(2)]
    text = render(compare(runs))
    assert "0.0083391<" in text
    assert "0.008339095" not in text


def test_a_hundred_runs_stay_far_below_the_limit() -> None:
    assert len(render(comparison(20, 5))) < MAX_BYTES / 5
    assert len(render(comparison(100, 1))) < MAX_BYTES / 2


def test_names_cannot_break_out() -> None:
    evil = record("<script>alert(1)</script>", 0, 5.0)
    failed = replace(record("b", 0, None), state="failed", reason="<img src=x>")
    text = render(compare([evil, failed]))
    assert "<script" not in text
    assert "<img" not in text
    parsed(text)


def test_videos_beyond_the_limit_are_left_out_and_it_says_so() -> None:
    films = [Film(group="x", title=f"film {i}", caption="", mp4=bytes(700_000)) for i in range(3)]
    text = render(comparison(), films)
    assert len(text) <= MAX_BYTES
    assert text.count("<video") == 2
    assert "larger than 2 MB: 1." in text


def test_a_sweeps_search_has_a_figure_for_each_number() -> None:
    trials = [
        record("t", 0, None, tuned=(float(n),), role="trial", learner__learning_rate=10.0**-n, data__episodes=n % 2 + 1)
        for n in range(1, 5)
    ]
    text = render(compare([record("t", 1, 5.0, role="confirmation"), *trials]))
    search = text[text.index("<h2>Search") : text.index("<h2>Runs")]
    assert search.count("<figure>") == 1  # the numbers of episodes are two: no axis
    assert "learner.learning_rate (log scale)" in search


def test_it_is_written_whole_or_refused(tmp_path: Path) -> None:
    path = write(comparison(), tmp_path / "below" / "page.html")
    assert path.read_text().endswith("</html>\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--out .*cannot be written"):
        write(comparison(), tmp_path / "file" / "page.html")
