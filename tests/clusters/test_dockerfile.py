"""clusters/Dockerfile: its style, what it copies and installs, and the check that ends a build with the wrong torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "clusters/Dockerfile"
TEXT = FILE.read_text()
HADOLINT = Path(sys.executable).with_name("hadolint")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lint(text: str) -> list[str]:
    """Return what hadolint says."""
    done = subprocess.run([HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def test_hadolint_has_no_complaint() -> None:
    assert lint(TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("ARG PYTHON=3.11.13", "FROM python:latest AS first", "DL3007"),
        ("USER 1000:1000", "USER root", "DL3002"),
        ("COPY requirements.lock ./", "ADD requirements.lock ./", "DL3020"),
        ("WORKDIR /source", "RUN cd /source", "DL3003"),
        ("--requirement torch.txt", "torch", "DL3013"),
    ],
)
def test_hadolint_finds_a_defect(old: str, new: str, code: str) -> None:
    assert old in TEXT
    assert any(code in line for line in lint(TEXT.replace(old, new, 1)))


def test_the_images_are_pinned_and_have_the_python_of_the_lock() -> None:
    stages = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert stages == ["python:${PYTHON}-bookworm", "python:${PYTHON}-slim-bookworm"]
    (python,) = re.findall(r"^ARG PYTHON=(\d+\.\d+)\.\d+$", TEXT, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert f"python{python}" in (ROOT / "scripts/lock").read_text()


def test_the_last_user_is_a_number_above_0() -> None:
    """Kubernetes' runAsNonRoot takes no name."""
    assert re.findall(r"^USER (\S+)", TEXT, re.MULTILINE) == ["1000:1000"]
    assert "useradd --uid 1000 " in TEXT


def test_what_is_copied_and_installed_exists() -> None:
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE) for name in line.split()]
    assert all((ROOT / name).exists() for name in copied)
    assert {"requirements.lock", "pyproject.toml", "distil", PROJECT["readme"], *PROJECT["license-files"]} == set(copied)
    (extras,) = re.findall(r'--constraint requirements\.lock "\.\[(.*?)\]"', TEXT)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize(("device", "code"), [("cpu", 0), ("cuda", 1)])
def test_a_build_with_the_other_torch_ends(device: str, code: int, tmp_path: Path) -> None:
    """With a torch whose version says `cpu`, since a real one takes seconds to import."""
    (script,) = re.findall(r"<<'CHECK'\n(.*?)^CHECK$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "torch.py").write_text("import types\n__version__ = '2.0+cpu'\nversion = types.SimpleNamespace(cuda=None)\n")
    environment = os.environ | {"DEVICE": device, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code
    expected = "DEVICE=cuda, and torch 2.0+cpu is a cpu build: give TORCH_INDEX an index that has cuda builds\n"
    assert done.stderr == (expected if code else "")
