"""The layers of DESIGN, the sizes of STYLE, and which modules stay light."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(p.relative_to(ROOT / "distil") for p in (ROOT / "distil").rglob("*.py"))
FILES = sorted(p for folder in ("distil", "tests", "benchmarks", "clusters") for p in (ROOT / folder).rglob("*.py"))
UNTESTED = {"__init__.py", "__main__.py", "errors.py"}  # nothing in them can go wrong by itself
# what a rollout worker of an MLP policy imports: torch would cost each of them 200 MB
LIGHT = [
    *("types", "spaces", "plans", "envs", "envs.slots", "experts", "experts.base", "experts.config", "store", "store.store"),
    *("rollouts", "rollouts.loop", "rollouts.worker"),
    *("policies", "policies.acting", "policies.checkpoint", "policies.numpy_policy"),
]


TOP_LEVEL = {
    *("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock"),
    *("distil", "clusters", "benchmarks", "tests", "scripts"),
}


def test_the_top_level_has_only_the_expected_entries() -> None:
    """Catches committed leftovers of tests and experiments."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"not a git checkout: {listed.stderr.strip()}")
    found = {name.partition("/")[0] for name in listed.stdout.splitlines()}
    assert {name for name in found if not name.startswith(".")} == TOP_LEVEL


@pytest.mark.parametrize("module", ["aiohttp_cors", "opencensus", "prometheus_client", "smart_open", "virtualenv"])
def test_the_dependencies_of_rays_job_server_are_installed(module: str) -> None:
    """They come with `ray[default]`; without them the dashboard starts but accepts no jobs."""
    assert importlib.util.find_spec(module) is not None


def test_layers_hold() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", [m for m in MODULES if m.name not in UNTESTED], ids=str)
def test_each_module_has_a_test_at_the_same_path(module: Path) -> None:
    twin = ROOT / "tests" / module.parent / f"test_{module.name}"
    assert twin.is_file(), f"distil/{module} has no tests/{twin.relative_to(ROOT / 'tests')}"


def test_no_file_is_over_400_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_over_40_lines() -> None:
    """Without its docstring: explaining more is no fault."""
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (n := _length(node)) > 40:
                long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = n
    assert not long


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = node.body[0] if ast.get_docstring(node) is not None else None
    lines = node.end_lineno - node.lineno + 1
    return lines - (docstring.end_lineno - docstring.lineno + 1) if docstring else lines


@pytest.mark.parametrize("package", [m for m in MODULES if m.name == "__init__.py"], ids=str)
def test_packages_say_what_they_are(package: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / "distil" / package).read_text()))


def test_what_workers_import_is_light() -> None:
    names = [f"distil.{name}" for name in LIGHT]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'ray', 'mlflow', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_import_circle_between_files() -> None:
    """Not even through imports inside functions or for types only."""
    names = {".".join(("distil", *m.with_suffix("").parts)).removesuffix(".__init__"): ROOT / "distil" / m for m in MODULES}
    imports = {name: _imports(path, names) - {name} for name, path in names.items()}
    while free := {name for name, found in imports.items() if not found & imports.keys()}:
        imports = {name: found for name, found in imports.items() if name not in free}
    assert not {name: found & imports.keys() for name, found in imports.items() if found & imports.keys()}


def _imports(path: Path, names: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {full if (full := f"{node.module}.{item.name}") in names else node.module for item in node.names}
        elif isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
    return found & names.keys()
