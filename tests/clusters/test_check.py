"""clusters/check.py: each mistake is one line with its place and its fix; what is right is let through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kuberaybed import FOLDER, ROOT, with_values

sys.path.insert(0, str(ROOT / "clusters"))
import check

IMAGE = "image: distil:0.1.0-cuda"
RUNS = "runs=/shared/runs"


@pytest.fixture
def right(tmp_path: Path) -> Path:
    """The files with the three values."""
    return with_values(tmp_path)


def complaints(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    """Return what is printed as complaints; the exit code fits."""
    code = check.main([str(argument) for argument in arguments])
    found = capsys.readouterr().err.splitlines()
    assert code == (2 if found else 0)
    return found


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize("folder", ["setup", "cluster", "long-lived", "job", "queue"])
def test_files_with_their_values_are_right(right: Path, capsys: pytest.CaptureFixture[str], folder: str) -> None:
    assert check.main([str(right / folder)]) == 0
    assert capsys.readouterr().out.endswith(" files: nothing to correct\n")


def test_placeholders_are_named_with_file_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a command, on the files as they are: the values are in a folder that the given one refers to."""
    monkeypatch.chdir(ROOT)
    command = [sys.executable, "clusters/check.py", "clusters/kuberay/setup"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (FOLDER / "values/kustomization.yaml").read_text().splitlines()
    expected = []
    for name in ("image", "namespace", "storage-class"):
        (number,) = [number for number, line in enumerate(lines, start=1) if f"CHANGE-ME-{name}" in line]
        fix = f"CHANGE-ME-{name} is a placeholder: replace it with your own value"
        expected.append(f"clusters/kuberay/values/kustomization.yaml:{number}: {fix}")
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (2, "", expected)


def test_a_job_of_a_queue_has_one_more(capsys: pytest.CaptureFixture[str]) -> None:
    names = [line.partition("CHANGE-ME-")[2].partition(" is")[0] for line in complaints(capsys, FOLDER / "queue")]
    assert names == ["queue", "image", "namespace", "storage-class"]


def test_placeholders_in_files_of_other_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A launcher's YAML, a script of Slurm; comments are for people, but for Slurm's options."""
    (tmp_path / "aws.yaml").write_text("# CHANGE-ME-key: see below\nauth: {ssh_user: CHANGE-ME-user} # not CHANGE-ME-host\n")
    (tmp_path / "run.sbatch").write_text("#!/bin/bash\n#SBATCH --partition=CHANGE-ME-partition\n# CHANGE-ME-text\n")
    (tmp_path / "notes.md").write_text("CHANGE-ME-prose\n")
    found = complaints(capsys, tmp_path)
    assert [line.rpartition("/")[2].partition(" is a")[0] for line in found] == [
        "aws.yaml:2: CHANGE-ME-user",
        "run.sbatch:2: CHANGE-ME-partition",
    ]
    assert len(complaints(capsys, tmp_path / "notes.md")) == 1  # a file that is named itself


@pytest.mark.parametrize("name", ["aws.yaml", "azure.yaml", "gcp.yaml", "on_premise.yaml", "slurm/cluster.sbatch"])
def test_the_files_of_other_clusters_have_three_values(capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = {
        line.partition("CHANGE-ME-")[2].split()[0].removesuffix("-b") for line in complaints(capsys, ROOT / "clusters" / name)
    }
    assert len(found) == 3


def test_a_gpu_group_with_a_cpu_image(right: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = right / "base/raycluster.yaml"
    (number,) = [number for number, line in enumerate(file.read_text().splitlines(), start=1) if IMAGE in line]
    change(file, IMAGE, "image: distil:0.1.0-cpu")
    (found,) = complaints(capsys, right / "cluster")
    assert found.endswith(
        f"base/raycluster.yaml:{number}: group learners asks for GPUs and has the CPU image "
        "registry.example.com/team/distil:0.1.0-cpu: use one that was built with DEVICE=cuda"
    )


@pytest.mark.parametrize("line", ["newTag: cpu", "newTag: 0.1.0-cpu", "newName: distil-cpu"])
def test_a_kustomization_that_gives_a_gpu_group_a_cpu_image(right: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    change(right / "values/kustomization.yaml", "newName: registry.example.com/team/distil", line)
    (found,) = complaints(capsys, right / "cluster")
    assert "group learners asks for GPUs and has the CPU image distil" in found


@pytest.mark.parametrize("image", ["host:5000/cpu-team/distil:cuda", "cpubench:1", "distil"])
def test_images_that_only_look_like_cpu_images(right: Path, capsys: pytest.CaptureFixture[str], image: str) -> None:
    change(right / "base/raycluster.yaml", IMAGE, f"image: {image}")
    assert complaints(capsys, right / "cluster") == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (RUNS, "", "runs=runs is not on the shared volume (/shared): set runs=/shared/runs"),
        (
            RUNS,
            "runs=/home/me/runs",
            "runs=/home/me/runs is not on the shared volume (/shared): set runs to a path below /shared",
        ),
        (RUNS, "runs=/shared/../runs", "runs=/shared/../runs is not on the shared volume"),
        (" tracking.uri=sqlite:////shared/mlflow.db", "", "set tracking.uri=sqlite:////shared/mlflow.db"),
        ("data.path=/shared/data/", "data.path=", "data.path=lunarlander-dagger is not on the shared volume"),
        ("learner.num_learners=1", "learner.num_learner=1", "num_learner"),
        ("train lunarlander-dagger", "train lunarlander-daggr", "lunarlander-daggr"),
        ("train lunarlander-dagger", "train 'lunarlander-dagger", "quotation"),
        ("train lunarlander-dagger --run lunarlander --resume", "train", "recipe"),
    ],
)
def test_a_job_that_writes_elsewhere(right: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, text: str) -> None:
    change(right / "job/rayjob.yaml", old, new)
    (found,) = complaints(capsys, right / "job")
    assert "job/rayjob.yaml:" in found
    assert text in found


def test_the_shared_volume_is_where_the_pods_see_it(right: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(right / "base/raycluster.yaml", "mountPath: /shared", "mountPath: /fsx")
    found = complaints(capsys, right / "job")
    assert [line.partition(": ")[2].partition("=")[0] for line in found] == ["runs", "data.path", "tracking.uri"]
    assert all("is not on the shared volume (/fsx): " in line for line in found)


def test_a_recipe(right: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cluster, recipe = right / "cluster", tmp_path / "mine.yaml"
    assert complaints(capsys, cluster, "--recipe", "cartpole-bc") == [
        "recipe cartpole-bc: runs=runs is not on the shared volume (/shared): set runs=/shared/runs",
        "recipe cartpole-bc: data.path=data/cartpole-bc is not on the shared volume (/shared): set "
        "data.path=/shared/data/cartpole-bc",
        "recipe cartpole-bc: tracking.uri=mlflow.db is not on the shared volume (/shared): set "
        "tracking.uri=sqlite:////shared/mlflow.db",
    ]
    assert complaints(capsys, cluster, "--recipe", "cartpole-bc", "--root", "/shared") == []
    parts = "{parts: [{path: /shared/a}, {path: /home/b}]}"
    recipe.write_text(f"data: {{mixture: {parts}}}\nruns: /shared/runs\ntracking: {{uri: 'http://mlflow:5000'}}\n")
    (found,) = complaints(capsys, cluster, "--recipe", recipe)
    assert "data.mixture=/home/b is not on the shared volume (/shared): " in found
    recipe.write_text("data: {path: 's3://bucket/demos'}\nruns: /shared/runs\ntracking: {enabled: false}\n")
    assert complaints(capsys, cluster, "--recipe", recipe) == []
    (found,) = complaints(capsys, cluster, "--recipe", "cartpole-bcc")
    assert found.startswith("recipe cartpole-bcc: ")


def test_bad_input_is_one_line(right: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert complaints(capsys, "nowhere") == ["nowhere: no such file or folder; check its name"]
    change(right / "cluster/kustomization.yaml", "resources: [../base]", "resources: [../bases]")
    (found,) = complaints(capsys, right / "cluster")
    assert "cluster/kustomization.yaml:" in found
    assert "bases; check its name" in found
    (tmp_path / "bad.yaml").write_text("a: 1\nb: [}\n")
    (found,) = complaints(capsys, tmp_path / "bad.yaml")
    assert "bad.yaml:2: not valid YAML: " in found
    (tmp_path / "photo.yaml").write_bytes(b"\xff\xd8")
    (found,) = complaints(capsys, tmp_path / "photo.yaml")
    assert "cannot be read" in found
