"""The documents: every command, key, file and test that they name exists, and their examples run."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, get_args, get_origin

import click
import pytest
import yaml
from pydantic import BaseModel

import distil
from distil.cli.main import cli
from distil.cli.reward_page import RewardGroup
from distil.config import apply_overrides, load_recipe, recipe_names, validate
from distil.interchange import formats
from distil.interchange.transfer import import_store
from distil.runconfig import RunConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in ROOT.rglob("README.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts[:-1]))
SILENT_FAILURES = range(1, 45)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language; "" for those without one."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def inline(page: Path) -> list[str]:
    """Return the code within the prose, line breaks as spaces."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", prose)]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every `distil ...` command of a page; a comment ends it."""
    shown = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    for text in (*shown, *inline(page)):
        if re.match(r"distil [a-z]", text):
            yield shlex.split(text, comments=True)[1:]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the configurations that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def is_mapping(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(is_mapping(part) for part in get_args(annotation))


def known(annotation: Any, parts: list[str]) -> bool:
    """Return whether a dotted path leads to a key of a configuration, or into a mapping of the user's."""
    if not parts:
        return True
    found = [model.model_fields[parts[0]].annotation for model in models(annotation) if parts[0] in model.model_fields]
    return any(known(field, parts[1:]) for field in found) or (is_mapping(annotation) and known(annotation, parts[1:]))


def unknown(annotation: Any, data: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted paths in data that are no keys."""
    for key, value in data.items() if isinstance(data, dict) else ():
        here = f"{path}.{key}".lstrip(".")
        if not known(annotation, here.split(".")):
            yield here
        yield from unknown(annotation, value, here)


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command and the words after its name."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        group, options = command, {option for parameter in command.params for option in parameter.opts}
        at = next((index for index, word in enumerate(words) if word in group.commands), 0)
        if words[at] not in group.commands and isinstance(group, RewardGroup):
            at, words = 0, [group.default_command, *words]
        assert words[at] in group.commands, f"no command {words[at]!r}"
        assert {word for word in words[:at] if word.startswith("--")} <= {*options, "--"}, f"{group.name}: {words[:at]}"
        command, words = group.commands[words[at]], words[at + 1 :]
    return command, words


def check(words: list[str]) -> None:
    """Fail unless the command, its options, its recipe and its overrides exist."""
    first, *more = words[:2] if words[0] in ("store", "experts", "recipes") else words[:1]
    for choice in more[0].split("|") if more else [""]:  # `store info|verify|view PATH`
        command, rest = resolve([first, *filter(None, [choice]), *words[1 + len(more) :]])
        options = {option for parameter in command.params for option in parameter.opts}
        recipe: dict[str, Any] = {}
        for word in rest:
            if word.startswith("--"):
                assert word in options, f"{command.name} has no option {word}"
            elif word in recipe_names():
                recipe = load_recipe(word)
            elif recipe and "=" in word and not word.startswith("["):
                key, _, value = word.partition("=")
                recipe = apply_overrides(recipe, {key: yaml.safe_load(value)}, model=RunConfig)
        if recipe:
            missing = {"expert.path": "X.zip"} if recipe.get("expert") == {"kind": "sb3"} else {}
            validate(RunConfig, apply_overrides(recipe, missing, model=RunConfig))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_exists(page: Path) -> None:
    """With its options, its recipe and the keys that it overrides."""
    for words in commands(page):
        try:
            check(words)
        except Exception as error:
            raise AssertionError(f"{name(page)}: distil {' '.join(words)}: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_key_exists(page: Path) -> None:
    """Those of YAML blocks, and dotted ones in the prose."""
    for text in blocks(page, "yaml"):
        assert list(unknown(RunConfig, yaml.safe_load(text))) == [], name(page)
    for text in inline(page):
        key = re.match(r"'?([a-z_]+(?:\.[a-z_]+)+)(?:=|: |'|$)", text)
        if key and not key[1].endswith((".py", ".yaml", ".json")) and key[1].split(".")[0] in RunConfig.model_fields:
            assert known(RunConfig, key[1].split(".")), f"{name(page)}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_exists(page: Path) -> None:
    """Links are relative to the page; files of the repository are named from its root, or from the page's folder."""
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), f"{name(page)}: {link}"
    for text in inline(page):
        if re.fullmatch(r"(benchmarks|scripts|distil|tests|clusters)/[\w./-]+", text):
            assert (ROOT / text).exists(), f"{name(page)}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_script_has_its_options(page: Path) -> None:
    """`python FILE --option`: the file is there and its source names the option."""
    for text in inline(page):
        if match := re.match(r"python (\S+\.py)(.*)", text):
            source = (ROOT / match[1]).read_text()
            assert all(f'"{option}"' in source for option in re.findall(r"--[a-z-]+", match[2])), f"{name(page)}: {text}"


def test_each_benchmark_has_its_command() -> None:
    page = (ROOT / "benchmarks/README.md").read_text()
    scripts = [p for p in (ROOT / "benchmarks").glob("*.py") if "__main__" in p.read_text()]
    assert [p.name for p in scripts if f"`python benchmarks/{p.name}" not in page] == []
    results = [p.name for p in (ROOT / "benchmarks/results").glob("*.json")]
    assert [result for result in results if result not in page] == []


def test_the_comparison_with_other_libraries_is_the_measured_one(tmp_path: Path) -> None:
    """`python benchmarks/peers.py --table` puts it into the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import peers_table

    file, copy = ROOT / "benchmarks/results/peers.json", tmp_path / "page.md"
    text = (ROOT / "benchmarks/README.md").read_text()
    assert re.findall(r"<!-- peers.py: (.*?) -->", text) == ["short", "full", "left out"]
    if file.exists():
        copy.write_text(text)
        peers_table.fill(copy, json.loads(file.read_text()))
        assert copy.read_text() == text, "run python benchmarks/peers.py --table"


def test_the_readme_is_short() -> None:
    words = (ROOT / "README.md").read_text().split()
    assert sum(any(map(str.isalnum, word)) for word in words) <= 900  # the bars of tables are no words


def test_every_file_of_a_run_is_explained(tmp_path: Path) -> None:
    """The table in distil/README.md names every file that a DAgger run ever has, and every kind of line in its journal."""
    page = (ROOT / "distil/README.md").read_text()
    table = re.search(r"\| when \| file \| contents \|\n(.*?)\n\n", page, re.DOTALL)
    assert table is not None
    named = [name for row in table[1].splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[2])]
    patterns = [name if name.startswith(("data/", "runs/")) else f"runs/cartpole-dagger-001/{name}" for name in named]
    seen = set[str]()

    def look(*_: object, **__: object) -> None:
        found = (p for folder in ("data", "runs") for p in (tmp_path / folder).rglob("*") if p.is_file())
        seen.update(str(p.relative_to(tmp_path)) for p in found)

    settings = {"algorithm.rounds": 3, "algorithm.overlap": 1, "learner.num_steps": 40, "learner.checkpoint_every": 20}
    small = {
        "evaluation.episodes": 2,
        "evaluation.video": True,
        "rollouts.num_workers": 0,
        "tracking.uri": f"sqlite:///{tmp_path}/mlflow.db",
    }
    distil.train("cartpole-dagger", settings | small, progress=look)
    look()
    temporary = re.compile(r"\.[\w.-]+\.(tmp|part)\b|/\.new-")
    unexplained = [name for name in sorted(seen) if not any(fnmatch(name, pattern) for pattern in patterns)]
    assert [name for name in unexplained if not temporary.search(name)] == []
    unseen = [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in seen)]
    # too short-lived to be seen here, and a store for algorithms of other kinds
    assert set(unseen) <= {"data/cartpole-dagger/data/.*.open", "runs/cartpole-dagger-001/agent/"}
    kinds = {
        json.loads(line)["kind"] for line in (tmp_path / "runs/cartpole-dagger-001/journal.jsonl").read_text().splitlines()
    }
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in page] == []


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples of distil/README.md: the user's package, and the recipe that uses it."""
    for text in blocks(ROOT / "distil/README.md", "python"):
        file = tmp_path / text.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "recipe.yaml").write_text(blocks(ROOT / "distil/README.md", "yaml")[-1])
    monkeypatch.syspath_prepend(tmp_path)
    forget_mine()  # of other tests
    yield tmp_path
    forget_mine()


def forget_mine() -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == "mine"]:
        del sys.modules[module]


def test_the_examples_of_extensions_run(mine: Path) -> None:
    """In one training: an expert, a head, an objective and an algorithm of the user's."""
    small = {"evaluation.episodes": 5, "rollouts.num_workers": 0, "tracking.enabled": False}
    run = distil.train(mine / "recipe.yaml", small)
    assert len(run.reports) == 2
    assert run.metrics["eval/normalised"] > 0.5


def test_the_example_of_an_importer_runs(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = runpy.run_path(str(mine / "distil/interchange/jsonl.py"))["JsonlImport"]
    monkeypatch.setattr(formats, "IMPORTERS", (*formats.IMPORTERS, example))
    episode = {"observations": [[0.0, 1.0], [2.0, 3.0]], "actions": [[0.5]], "rewards": [1.0], "terminated": True}
    (mine / "two.jsonl").write_text(f"{json.dumps(episode)}\n{json.dumps(episode | {'actions': [[0.25]]})}\n")
    result = import_store(formats.importer("jsonl", {}), mine / "two.jsonl", str(mine / "store"))
    assert [result.snapshot.episode(number).actions.tolist() for number in range(2)] == [[[0.5]], [[0.25]]]
    assert all(result.snapshot.episode(number).terminated for number in range(2))


def test_every_silent_failure_has_its_tests() -> None:
    """Each number is in the list once, in order, with a test that exists, or says that there is none and why."""
    page = ROOT / "tests/README.md"
    entries = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^#|\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in entries] == list(SILENT_FAILURES)
    for number, text in entries:
        tests = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
        assert tests or "(no code yet)" in text or "Not a test:" in text, f"{number} has no test"
        for file, test in tests:
            tree = ast.parse((page.parent / file).read_text())
            assert test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (
                f"{number}: {file}::{test}"
            )


def test_every_number_that_a_test_cites_is_in_the_list() -> None:
    for file in ROOT.glob("tests/**/*.py"):
        for cited in re.findall(r"CORRECTNESS (\d+(?:(?:, | and |, and )\d+)*)", file.read_text()):
            assert all(int(number) in SILENT_FAILURES for number in re.findall(r"\d+", cited)), f"{file}: {cited}"
