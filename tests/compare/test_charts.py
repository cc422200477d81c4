"""The page's figures: everything is inside, and what they show is there."""

from __future__ import annotations

from xml.etree import ElementTree

from comparebed import record

from distil.compare.charts import curve_figures, levels_of, pareto_figure, scatter, strip, strip_axis, strip_scale
from distil.compare.methods import group


def methods(num: int = 2, labels=(1000.0, 50_000.0)):
    runs = [
        record(
            f"m{i}", seed, 300.0 + 50 * i + 3 * seed, tuned=(100.0, 200.0 + seed), labels=labels[i % 2], data__episodes=i + 1
        )
        for i in range(num)
        for seed in range(3)
    ]
    return group(runs, held_out=True)


def check(figure: str) -> ElementTree.Element:
    """Return the parsed figure; all coordinates are inside its box, with room for texts."""
    root = ElementTree.fromstring(figure)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter():
        for key, limit in (
            ("cx", width),
            ("x1", width),
            ("x2", width),
            ("x", width),
            ("cy", height),
            ("y1", height),
            ("y2", height),
        ):
            if key in element.attrib:
                assert -1 <= float(element.attrib[key]) <= limit + 1, (element.tag, element.attrib)
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


def test_a_strip_has_a_dot_for_each_seed_and_the_levels_near_by() -> None:
    found = methods()
    levels = levels_of(found)
    assert levels == {"random": 20.0, "expert": 500.0}
    scale = strip_scale(found, levels)
    root = check(strip(found[0], 0, scale, levels))
    assert len(list(root.iter("circle"))) == 3
    assert [element.attrib["class"] for element in root.iter("line")] == ["expert", "interval", "mean"]  # random is far away
    assert "expert" in texts(check(strip_axis(scale, levels)))


def test_levels_that_differ_between_runs_are_not_drawn() -> None:
    found = methods()
    object.__setattr__(found[0].points[0], "expert", 499.0)
    assert levels_of(found) == {"random": 20.0}


def test_curves_are_drawn_against_each_budget_that_varies() -> None:
    found = methods()
    figures = dict(curve_figures(found, levels_of(found)))
    assert list(figures) == ["Return against labels", "Return against environment steps", "Return against seconds"]
    root = check(figures["Return against labels"])
    assert [e.attrib["class"] for e in root.iter("polyline")] == ["curve", "curve"]
    assert len(list(root.iter("polygon"))) == 2
    assert "labels (log scale)" in texts(root)
    assert [e.text for e in root.iter("text") if e.attrib["class"] == "normalised"][
        -1
    ] == "1"  # the expert's score, at the right


def test_at_most_eight_methods_have_a_curve() -> None:
    assert curve_figures(methods(11), {})[0][1].count('class="curve"') == 8


def test_the_pareto_figure_has_all_methods_and_is_left_out_for_equal_labels() -> None:
    root = check(pareto_figure(methods(11), {"random": 20.0, "expert": 500.0}))
    assert len(list(root.iter("circle"))) == 11
    assert "front" in [e.attrib["class"] for e in root.iter("polyline")]
    assert pareto_figure(methods(labels=(5.0, 5.0)), {}) is None


def test_a_scatter_of_one_value() -> None:
    assert len(list(check(scatter([1.0], [2.0], "x", {})).iter("circle"))) == 1
