from pathlib import Path

import pytest
from jobbed import project

from distil.errors import InputError
from distil.jobs.package import pack
from distil.jobs.paths import Homes
from distil.jobs.work import Work, evaluate_work, run_work

SHARED = ["runs=/r", "data.path=/d"]
HOMES = {"runs": "/r", "data.path": "/d"}


def test_a_named_run_continues_and_others_do_not(tmp_path: Path) -> None:
    project(tmp_path)
    work = run_work("train", ["recipe.yaml", "--run", "one"], "recipe.yaml", {}, Homes("/shared"), run="one")
    assert work.name == "one"
    assert work.entrypoint("/venv/bin/python") == (
        "/venv/bin/python -m distil train recipe.yaml --run one --resume runs=/shared/runs data.path=/shared/data/mine"
    )
    given = run_work(
        "train", ["recipe.yaml", "--run", "one", "--resume", *SHARED], "recipe.yaml", HOMES, Homes(None), run="one"
    )
    assert given.added == []
    assert run_work("collect", ["recipe.yaml", *SHARED], "recipe.yaml", HOMES, Homes(None)).added == []


def test_arguments_survive_the_shell() -> None:
    work = Work(name="x", words=["train", "recipe.yaml", "env.kwargs={a: '$HOME; rm'}"])
    assert work.entrypoint("python") == "python -m distil train recipe.yaml 'env.kwargs={a: '\"'\"'$HOME; rm'\"'\"'}'"


def test_a_configuration_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    project(tmp_path)
    with pytest.raises(InputError, match=r"unknown key learner\.num_step; did you mean num_steps"):
        run_work("train", [], "recipe.yaml", {"learner.num_step": 1}, Homes("/shared"))
    with pytest.raises(InputError, match="relative paths end in the job's temporary folder"):
        run_work("train", [], "recipe.yaml", {}, Homes(None))


def test_a_recipe_that_does_not_travel_is_refused(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "sub").mkdir()
    work = run_work("train", [], "recipe.yaml", HOMES, Homes(None))
    work.checked(pack(tmp_path), tmp_path)
    with pytest.raises(InputError, match=r"the recipe: recipe\.yaml does not travel"):
        work.checked(pack(tmp_path / "sub"), tmp_path / "sub")


def test_another_cluster_in_the_configuration_is_refused(tmp_path: Path) -> None:
    work = run_work("train", [], "cartpole-bc", HOMES | {"rollouts.address": "h:6379", "tracking.enabled": False}, Homes(None))
    with pytest.raises(InputError, match=r"rollouts\.address=h:6379: a job runs on the cluster that it is submitted to"):
        work.checked(pack(tmp_path), tmp_path)


def test_what_the_cluster_must_have_is_said(tmp_path: Path) -> None:
    wrapped = {"env.wrappers": [{"target": "gymnasium.wrappers:TimeAwareObservation"}], "tracking.enabled": False}
    work = run_work("train", [], "cartpole-bc", HOMES | wrapped, Homes(None)).checked(pack(tmp_path), tmp_path)
    assert work.notes == ["the cluster's Python needs gymnasium, which is installed here and does not travel"]


def test_the_folder_of_a_run_is_on_the_shared_path(tmp_path: Path) -> None:
    run = tmp_path / "runs/one"
    run.mkdir(parents=True)
    project(run)
    (run / "recipe.yaml").rename(run / "config.yaml")
    (run / "journal.jsonl").touch()
    (run / "versions.json").touch()
    repeated = run_work("train", ["runs/one"], "runs/one", HOMES, Homes(None))
    assert repeated.files == {"runs/one/config.yaml": "the recipe"}
    work = run_work("train", ["runs/one", "--resume"], "runs/one", {}, Homes("/shared"))
    assert list(work.words) == ["train", "/shared/runs/one", "--resume"]
    with pytest.raises(InputError, match="the run runs/one=runs/one"):
        run_work("train", ["runs/one", "--resume"], "runs/one", {}, Homes(None))
    assert list(evaluate_work(["runs/one"], "runs/one", Homes("/shared")).words) == ["evaluate", "/shared/runs/one"]
    assert evaluate_work(["/r/one"], "/r/one", Homes(None)).name == "evaluate-one"
    with pytest.raises(InputError, match="RUN=runs/one"):
        evaluate_work(["runs/one"], "runs/one", Homes(None))


def test_a_run_on_the_cluster_alone_is_checked_there() -> None:
    work = run_work("train", ["/shared/runs/one", "--resume"], "/shared/runs/one", {}, Homes(None))
    assert (work.configs, work.name) == ((), "one")
    assert "not on this machine" in work.notes[0]


def test_demonstrations_that_stay_here_are_said(tmp_path: Path) -> None:
    (tmp_path / "data/cartpole-bc").mkdir(parents=True)
    (tmp_path / "data/cartpole-bc/store.json").touch()
    work = run_work("train", [], "cartpole-bc", {}, Homes("/shared"))
    assert "the demonstrations in data/cartpole-bc stay here; the job uses those in /shared/data/cartpole-bc" in work.notes[0]


def test_a_password_is_never_part_of_a_command() -> None:
    with pytest.raises(InputError, match="the dashboard shows a job's command") as error:
        Work(name="x", words=["train", "cartpole-bc", "tracking.uri=http://me:secret@host"])
    assert "secret" not in str(error.value)
