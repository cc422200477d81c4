"""Which runs are one method, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from comparebed import config, metrics, record, write_run

from distil.compare.folders import Reader
from distil.compare.methods import differing, group


def test_runs_that_differ_in_seed_and_place_alone_are_one_method() -> None:
    runs = [record("a-seed", seed, 100.0 + seed) for seed in range(3)]
    runs.append(record("a-seed", 3, 103.0, rollouts__num_workers=8, runs="elsewhere", data__path="other/place"))
    (method,) = group(runs, held_out=True)
    assert (method.seeds, method.scores, method.mean) == ([0, 1, 2, 3], [100.0, 101.0, 102.0, 103.0], 101.5)
    assert method.interval == pytest.approx((99.446, 103.554), abs=1e-3)  # Student's t
    assert method.budgets["expert_labels"] == 4000
    assert method.budgets["cpu_s"] is None


def test_methods_are_sorted_by_mean_and_take_the_names_of_their_runs() -> None:
    runs = [record("bc-seed", s, 100.0) for s in (0, 1)]
    runs += [record("dagger-seed", s, 200.0, algorithm__kind="dagger") for s in (0, 1)]
    for run in runs:
        run.config["name"] = f"{run.config['name']}-{run.seed}"
    assert [method.name for method in group(runs, held_out=True)] == ["dagger", "bc"]
    versions = [record("pens2", 0, 1.0), record("pens3", 0, 2.0, data__episodes=3)]  # no number of a seed
    assert [method.name for method in group(versions, held_out=True)] == ["pens3", "pens2"]


def test_methods_of_one_name_are_called_by_what_differs() -> None:
    runs = [record("a", 0, 1.0 + n, data__episodes=n, learner__learning_rate=rate) for n, rate in ((5, 0.1), (9, 0.0123456))]
    runs.append(record("a", 0, 0.5, algorithm__kind="dagger"))
    methods = group(runs, held_out=True)
    assert [m.name for m in methods] == ["BC, 9 demos, learning_rate 0.0123", "BC, 5 demos, learning_rate 0.1", "DAgger"]
    assert differing(methods) == ["algorithm.kind", "data.episodes", "learner.learning_rate"]


def test_a_key_of_another_algorithm_does_not_differ() -> None:
    runs = [record("bc", 0, 1.0)]
    runs += [record("dagger", 0, 2.0, algorithm={"kind": "dagger", "rounds": rounds}) for rounds in (2, 3)]
    assert differing(group(runs, held_out=True)) == ["algorithm.kind", "algorithm.rounds"]


def test_a_repeated_seed_counts_once_unless_the_store_tells_the_runs_apart() -> None:
    same = [record("a", 0, 1.0), record("a", 0, 2.0)]
    (method,) = group(same, held_out=True)
    assert (method.scores, [run.points[0].score for run in method.repeated]) == ([2.0], [1.0])
    apart = [record("a", seed, 1.0, data__path=path) for path in ("x", "y") for seed in (0, 1)]
    assert [method.seeds for method in group(apart, held_out=True)] == [[0, 1], [0, 1]]


def test_without_an_expert_the_store_is_part_of_the_method() -> None:
    runs = [record("a", seed, 1.0, expert=None, data__path=f"store{seed}") for seed in (0, 1)]
    assert len(group(runs, held_out=True)) == 2


def test_one_run_has_the_interval_over_its_episodes_and_runs_without_a_score_are_left_out() -> None:
    (method,) = group([record("a", 0, 100.0), record("a", 1, None, tuned=(3.0,))], held_out=True)
    assert method.interval == (95.0, 105.0)
    (method,) = group([record("a", 0, 100.0), record("a", 1, None, tuned=(3.0,))], held_out=False)
    assert method.scores == [3.0]


def test_confirmations_of_a_trial_are_one_method_whatever_their_budget_needs(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for trial, score in (("bc-01", 5.0), ("bc-02", 7.0)):
        for seed in (1, 2):
            settings = config("sweep", seed, learner__num_steps=100 * seed)  # granted for the labels of that seed
            write_run(sweep / "confirm" / f"{trial}-seed-{seed}", settings, [metrics(score + seed)])
    (sweep / "sweep.yaml").write_text("{}")
    methods = group(Reader().read(sweep), held_out=True)
    assert [(method.name, method.scores) for method in methods] == [("bc-02", [8.0, 9.0]), ("bc-01", [6.0, 7.0])]
    assert "learner.num_steps" not in methods[0].config
