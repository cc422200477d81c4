"""Scales, ticks, and escaped texts."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from distil.compare import svg
from distil.compare.svg import Scale, scale_of, tick_text


def test_a_scale_maps_its_ends() -> None:
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert [Scale(1, 100, 0, 10, log=True)(value) for value in (1, 10, 100)] == [0, 5, 10]
    assert Scale(0, 10, 200, 100)(10) == 100  # upwards


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (-0.3, 10.4, [0, 2.5, 5, 7.5, 10]),
        (-155, -120, [-150, -140, -130, -120]),
        (0.12, 0.19, [0.12, 0.14, 0.16, 0.18]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 100).ticks() == ticks


@pytest.mark.parametrize(("low", "high"), [(900, 50_000), (1e-6, 0.1), (3, 70), (1000, 1100)])
def test_logarithmic_axes_have_ticks_inside(low: float, high: float) -> None:
    ticks = Scale(low, high, 0, 100, log=True).ticks()
    assert len(ticks) >= 2
    assert all(low <= tick <= high for tick in ticks)


def test_a_wide_positive_range_is_logarithmic_where_it_may_be() -> None:
    assert scale_of([1, 1000], 0, 1, may_log=True).log
    assert not scale_of([1, 1000], 0, 1).log
    assert not scale_of([0, 1000], 0, 1, may_log=True).log
    same = scale_of([500.0, 500.0, math.nan], 0, 100)
    assert same.low < 500 < same.high
    assert scale_of([], 0, 1).low < scale_of([], 0, 1).high


def test_tick_texts_are_short() -> None:
    assert [tick_text(value) for value in (-150.0, 20_000.0, 1500.0, 2.5e6, 0.25)] == [
        "\N{MINUS SIGN}150",
        "20k",
        "1500",
        "2.5M",
        "0.25",
    ]


def test_elements_are_well_formed_and_escape_names() -> None:
    parts = [svg.line(0, 0, 1, 1, "a"), svg.path([(0, 1), (2, 3)], "b"), svg.area([(0, 0), (1, 1)], "c")]
    parts += [svg.dot(1, 2, 3, "d", "<hint>"), svg.words(0, 0, "a<b & c")]
    root = ElementTree.fromstring(svg.document(10, 20, parts, 'say "x" <y>'))
    assert root.attrib["viewBox"] == "0 0 10 20"
    assert root.find("text").text == "a<b & c"
    assert root.find("circle/title").text == "<hint>"


def test_colours_end_in_grey() -> None:
    assert [svg.colour(index) for index in (0, 7, 8)] == ["c0", "c7", "rest"]
