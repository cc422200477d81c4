"""What `pip install distil` brings: the wheel's content and metadata, the API's names, and the demo outside the checkout."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import distil
from distil.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "distil").rglob("*.py"))
SMALL_DEMO = """
from pathlib import Path
from distil.demo import run_demo
small = {"learner.num_steps": 50, "evaluation.episodes": 4, "rollouts.num_envs": 4, "rollouts.num_workers": 1}
print(run_demo(Path("demo"), num_seeds=1, episodes=(2, 4), steps=400, overrides=small).text())
"""
HEAVY = {"torch", "ray", "mlflow", "matplotlib", "pyarrow", "numpy", "gymnasium", "scipy", "rich", "PIL"}


def run(command: list[str | Path], folder: Path) -> str:
    """Return what a command prints; the code of the checkout isn't on its path."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources, so that the build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "distil", source / "distil", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    run([sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, source], folder)
    return next(folder.glob("distil-*.whl"))


@pytest.fixture(scope="session")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh virtual environment: the wheel is installed, its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    # a path in a .pth is searched after the environment's own packages, and its own .pth files, an editable distil, aren't read
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin/python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", wheel], folder)
    found = run([python, "-c", "import distil; print(distil.__file__)"], folder).strip()
    assert Path(found).is_relative_to(packages)
    return folder / "bin"


def test_the_wheel_holds_the_package_and_its_data_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    kept = [path for path in (ROOT / "distil").rglob("*") if path.suffix in {".py", ".yaml", ".css"} or path.name == "py.typed"]
    assert names == {str(path.relative_to(ROOT)) for path in kept}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        text = next(file.read(name).decode() for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        assert any(name.endswith("licenses/LICENSE") for name in file.namelist())
    assert "License-Expression: Apache-2.0" in text
    assert f"Version: {distil.__version__}" in text
    assert f"Summary: {PROJECT['description']}" in text
    assert set(re.findall("^Classifier: (.+)$", text, re.MULTILINE)) == set(PROJECT["classifiers"])


def test_outside_the_checkout_the_commands_find_their_data(scripts: Path, tmp_path: Path) -> None:
    assert run([scripts / "distil", "--version"], tmp_path).split() == ["distil,", "version", distil.__version__]
    listed = [line.split()[0] for line in run([scripts / "distil", "recipes", "list"], tmp_path).splitlines()]
    assert listed == sorted(path.stem for path in (ROOT / "distil/recipes").glob("*.yaml"))
    assert "id: LunarLander-v3" in run([scripts / "distil", "recipes", "show", "lunarlander-bc"], tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
@pytest.mark.slow
def test_outside_the_checkout_a_small_demo_works(scripts: Path, tmp_path: Path) -> None:
    """The demo with fewer episodes and steps; `distil demo` takes longer."""
    assert "First root seed" in run([scripts / "distil", "demo", "--help"], tmp_path)
    told = run([scripts / "python", "-c", SMALL_DEMO], tmp_path)
    assert "DAgger, 4 episodes" in told
    assert {path.name for path in tmp_path.iterdir()} == {"demo", "mlartifacts", "mlflow.db", ".mlflow.db.lock"}
    for name, least in (("score.png", 10_000), ("best.mp4", 1_000)):
        assert (tmp_path / "demo" / name).stat().st_size > least


def declared(requirements: list[str]) -> set[str]:
    """Return the names of packages, as the package index normalises them."""
    return {normal(re.match(r"[\w.-]+", text)[0]) for text in requirements}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def imported(*, at_import: bool) -> set[str]:
    """Return the top-level modules, neither Python's nor distil's, that distil imports when its modules are, or later."""
    found = set()
    for path in MODULES:
        tree = ast.parse(path.read_text())
        inner = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.If) for n in ast.walk(f)}
        for node in ast.walk(tree):
            if at_import and id(node) in inner:
                continue
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"distil"}


def test_what_is_imported_is_declared() -> None:
    """The core has what modules import when they are imported; what a function imports may be an extra's."""
    owners = packages_distributions()
    core = declared(PROJECT["dependencies"])
    extras = {name: declared(texts) for name, texts in PROJECT["optional-dependencies"].items() if name != "dev"}
    for at_import, allowed in ((True, core), (False, core.union(*extras.values()))):
        for module in imported(at_import=at_import):
            assert {normal(name) for name in owners[module]} & allowed, f"distil imports {module}, which is not declared"
    assert imported(at_import=False) > imported(at_import=True) > {"numpy", "torch", "ray"}


def test_the_python_versions_that_are_claimed() -> None:
    claimed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == f">={claimed[0]}"
    assert claimed == [f"3.{11 + number}" for number in range(len(claimed))]


def test_the_lock_has_every_dependency() -> None:
    pinned = {normal(line.partition("==")[0]) for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    extras = PROJECT["optional-dependencies"].values()
    assert declared(PROJECT["dependencies"]).union(*map(declared, extras)) <= pinned


def test_dir_shows_the_api_and_nothing_else() -> None:
    assert dir(distil) == sorted(["__version__", *distil.__all__])
    assert {"InputError", "RunError", "Run", "Store", "train", "load_policy"} <= set(dir(distil))
    for name in distil.__all__:
        assert getattr(distil, name).__module__.startswith("distil."), name
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        distil.trian  # noqa: B018
    with pytest.raises(distil.InputError, match=r"nothing\.yaml"):
        distil.train("nothing.yaml")
    assert distil.InputError is InputError


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import distil; dir(distil)", set()),
        ("import distil; distil.InputError", {"distil.errors"}),
        ("from distil.cli.main import cli; cli(['--version'], standalone_mode=False)", None),
        ("from distil.cli.main import cli; cli(['recipes', 'list'], standalone_mode=False)", None),
    ],
)
def test_names_and_lists_import_nothing_heavy(code: str, allowed: set[str] | None) -> None:
    told = run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], ROOT)
    loaded = set(told.splitlines()[-1].split())
    assert not loaded & HEAVY
    if allowed is not None:
        assert {name for name in loaded if name.startswith("distil.")} == allowed
