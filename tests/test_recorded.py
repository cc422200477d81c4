import re
from pathlib import Path

from rundatabed import own, train

from distil.config import to_yaml
from distil.plans import RoundReport, Spent
from distil.recorded import Totals, about_experiment, environment_of, parameters, result, run_tags
from distil.rundir import RunDir


def test_parameters_are_those_that_distinguish_runs(tmp_path: Path) -> None:
    config = own(tmp_path)
    found = parameters(config)
    assert found["learner.num_steps"] == str(config.learner.num_steps)
    assert found["algorithm.kind"] == "bc"
    assert "null" not in found.values()
    assert [key for key in found if re.match(r"rollouts|tracking|runs|learner\.read", key)] == []


def test_tags_say_what_a_run_is(tmp_path: Path) -> None:
    config = own(tmp_path)
    rundir = RunDir.create(Path(config.runs), config.name, to_yaml(config))
    tags = run_tags(config, rundir)
    assert (tags["algorithm"], tags["seed"], tags["env"]) == ("bc", str(config.seed), environment_of(config))
    assert Path(tags["run_dir"]).is_absolute()
    assert re.fullmatch("#[0-9A-F]{6}", tags["mlflow.runColor"])
    assert tags["distil_version"]
    assert "" not in tags.values()


def test_totals_continue_those_of_earlier_rounds_and_scores_come_first() -> None:
    rounds = [
        {"train/steps": 10.0, "time/collect_s": 1.0},
        {"train/steps": 5.0},
        {"time/collect_s": 2.0, "eval/return_mean": 3.0},
    ]
    totals, resumed = Totals(), Totals(rounds[:2])
    for metrics in rounds[:2]:
        totals.add(metrics)
    last = totals.add(rounds[2])
    assert last == resumed.add(rounds[2])
    assert list(last) == ["eval/return_mean", "train/total_steps", "time/collect_s", "time/total_collect_s"]
    assert (last["train/total_steps"], last["time/total_collect_s"]) == (15.0, 3.0)


def test_a_result_is_one_sentence_and_the_experiment_says_what_to_compare_with(tmp_path: Path) -> None:
    config = own(tmp_path)
    scores = {
        "eval/return_mean": -150.25,
        "eval/return_ci_low": -160.0,
        "eval/return_ci_high": -140.0,
        "eval/normalised": 0.981,
    }
    levels = {"eval/expert_return_mean": -148.0, "eval/random_return_mean": -1200.0}
    spent = Spent(demonstrations=10, expert_labels=2000, gradient_steps=3000, wall_s=12.4)
    report = RoundReport(index=0, snapshot=1, policy_version=1, spent=spent, metrics=scores | levels)
    num = config.evaluation.episodes
    assert result(config, report) == (
        f"bc on {environment_of(config)}: return -150.2 (95 %: -160 to -140) on {num} held-out episodes; "
        "normalised 0.981; 10 demonstrations, 2,000 labels, 3,000 gradient steps; 12 s."
    )
    about = about_experiment(config, report)
    assert "expert -148, random policy -1200." in about
    assert "number of gradient steps" in about
    assert result(config, RoundReport(index=0, snapshot=None, policy_version=0)).endswith(f"{environment_of(config)}: 0 s.")


def test_a_run_in_mlflow_is_described(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    config = own(tmp_path, tracking={"uri": uri})
    train(config)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(config.name)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["mlflow.note.content"].startswith(f"bc on {environment_of(config)}: ")
    assert experiment.tags["mlflow.note.content"].startswith(f"**{environment_of(config)}**")
    (dataset,) = run.inputs.dataset_inputs
    assert re.fullmatch(r"\w+ v\d+, \d+ episodes", dataset.dataset.name)
    assert len(dataset.dataset.digest) == 8
