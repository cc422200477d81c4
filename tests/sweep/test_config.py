from pathlib import Path

import pytest
from sweepbed import sweep

from distil.errors import InputError
from distil.sweep.config import SWEEPS, load_sweep


def test_the_shipped_sweeps_are_right() -> None:
    for name in SWEEPS.names():
        config = load_sweep(name)
        assert config.name == name
        assert len(config.families) == 3


def test_an_unknown_sweep_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no shipped sweep has that name; did you mean pendulum"):
        load_sweep("pendulums")


def test_a_sweep_is_read_from_a_file_with_overrides(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "recipe: cartpole-bc\nfamilies: {bc: {search: {learner.batch_size: {choice: [32, 64]}}}}\n"
    )
    config = load_sweep(tmp_path / "mine.yaml", {"searcher.kind": "grid", "seed": 3})
    assert (config.name, config.seed, config.searcher.kind) == ("mine", 3, "grid")
    assert list(config.space("bc", "bc")) == ["learner.batch_size"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"families": {}}, "families"),
        ({"searcher": {"kind": "grid"}}, r"families\.bc\.search: a grid needs values"),
        ({"searcher": {"kind": "bayes"}}, "no kind 'bayes'"),
        ({"concurrent": 0}, "at least 1, or auto"),
        ({"families": {"bc": {"search": {"seed": {"kind": "grid"}}}}}, r"^unknown key families\.bc\.search\.seed\.kind; did"),
        ({"families": {"bc": {"search": {"seed": {}}}}}, r"^families\.bc\.search\.seed: needs exactly one of choice, uniform"),
        ({"confirm": {"seeds": 1}}, "greater than or equal to 2"),
        ({"famillies": {}}, "did you mean families"),
    ],
)
def test_what_is_wrong_is_one_line(keys: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sweep(**keys)


def test_what_is_set_does_not_vary() -> None:
    rate, size = "learner.learning_rate", "learner.batch_size"
    found = sweep(
        set={"learner.weight_decay": 0.0},
        search={rate: {"grid": [1e-3, 1e-2]}, "policy.encoder.hidden": {"choice": [[8], [16]]}},
        families={"a": {"set": {size: 64}}, "b": {"set": {rate: 1e-3}, "search": {size: {"choice": [32, 64]}}}},
    )
    assert set(found.space("a", "bc")) == {rate, "policy.encoder.hidden"}
    assert set(found.space("b", "bc")) == {size, "policy.encoder.hidden"}
    with pytest.raises(ValueError, match="nothing varies"):
        sweep(families={"a": {"search": {}}}).space("a", "bc")


def test_a_space_for_an_algorithm_of_ones_own_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"no space ships for algorithm\.kind=import"):
        sweep().space("bc", "import")
