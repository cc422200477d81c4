import json

from distil.tracking.view import TAG, link, shared_view


def test_the_view_shows_scores_first_and_fits_into_a_tag() -> None:
    """Its keys are those of MLflow's page; a screenshot shows that the page takes them."""
    view = json.loads(shared_view())
    assert len(shared_view()) < 5000
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`eval/return_mean`", False)
    assert view["selectedColumns"][:2] == ["tags.`algorithm`", "metrics.`eval/return_mean`"]
    assert "metrics.`tune/normalised`" in view["selectedColumns"]
    sections = {section["uuid"] for section in view["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} <= sections
    first = view["compareRunCharts"][0]
    assert (first["type"], first["xaxis"]["key"], first["yaxis"]["key"]) == (
        "SCATTER",
        "budget/expert_labels",
        "eval/normalised",
    )


def test_a_link_names_the_view_of_the_tag() -> None:
    address = link("http://127.0.0.1:5000", "3")
    assert address == "http://127.0.0.1:5000/#/experiments/3/runs?viewStateShareKey=distil"
    assert TAG.endswith(address.rpartition("=")[2])
