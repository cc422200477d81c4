"""Configuration: the frozen strict base class, recipe files, dotted overrides, and errors that name the nearest valid key.

There is one path: recipe YAML, then `key.path=value` overrides, then validation into the component's Config. Variants are
discriminated unions on `kind`; an override that changes a `kind` drops the old variant's keys.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from distil.errors import InputError
from distil.redaction import redact, redact_all

MAX_YAML_CHARS = 128 * 1024
MAX_YAML_NODES = 100_000
MAX_YAML_DEPTH = 40


class Config(BaseModel):
    """Base of every configuration: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the raw `data` with the defaults that depend on more than one key filled in; called by `validate`."""
        return data


C = TypeVar("C", bound=Config)
_MARK = "distil-unset-"
_STAND_INS: tuple[Any, ...] = ("unset", 1, True, {})  # placeholders for a string, a number, a boolean, a group


class _Loader(yaml.SafeLoader):
    """YAML loader: `1e-3` is a number (PyYAML requires a dot), dates are strings, duplicate keys are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Reject duplicate keys: PyYAML would silently keep only the last value."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value}", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Reject deeply nested brackets before scanning them, which takes quadratic time."""
        if self.flow_level > MAX_YAML_DEPTH:
            raise yaml.scanner.ScannerError(None, None, "nested too deep", self.get_mark())
        super().fetch_flow_collection_start(token)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _number(loader: _Loader, node: yaml.ScalarNode) -> float | int:
    value = float(loader.construct_yaml_float(node))
    return int(value) if "." not in node.value and value.is_integer() else value  # 1e4 steps are a count


_Loader.add_constructor("tag:yaml.org,2002:float", _number)


class _PairsLoader(_Loader):
    """Also reads PyYAML's tag for an ordered dictionary, as plain data."""


def _pairs(loader: _PairsLoader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError("an ordered dictionary that is not a list of pairs")
    (items,) = loader.construct_sequence(node, deep=True)
    return {str(key): value for key, value in items}


_PairsLoader.add_constructor("tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _pairs)


def parse_yaml(text: str, where: str, *, pairs: bool = False) -> Any:
    """Parse YAML. All of distil's YAML is read here, with limits: a short text cannot use much memory or time.

    Args:
        text: the YAML text.
        where: the source named in errors.
        pairs: read PyYAML's tag for an ordered dictionary (a list of pairs) as a dictionary; nothing is executed.

    Raises:
        InputError: the text is not YAML, not plain data, or too large once its aliases are expanded.
    """
    if len(text) > MAX_YAML_CHARS:
        raise InputError(f"{where}: {len(text)} characters of YAML; the limit is {MAX_YAML_CHARS}")
    try:
        loader = _PairsLoader(text) if pairs else _Loader(text)  # SafeLoaders: plain data only
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        data = loader.construct_document(node)
        json.dumps(data)  # plain data only: no bytes, sets, or numbers of thousands of digits
        return data
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(f"{where}{line}: not valid YAML: {problem}") from None
    except RecursionError:
        raise InputError(f"{where}: not valid YAML: nested too deep") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())[:200]}") from None


def _check_size(root: yaml.Node) -> None:
    """Raise ValueError if the expanded nodes are too many, nested too deep, or recursive."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MAX_YAML_DEPTH:
            raise ValueError("nested too deep")
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = MAX_YAML_NODES  # for a node that contains itself
            parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
        if sizes[id(node)] > MAX_YAML_NODES:
            raise ValueError(f"more than {MAX_YAML_NODES} values once aliases are expanded")
        return sizes[id(node)]

    size(root, 0)


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where files of one kind are: shipped ones by name, and those that a run's (or a sweep's) folder keeps."""

    package: str  # with the shipped files
    kept: str  # name of the file in a folder
    what: str  # "recipe"
    of: str  # whose folder: "run"
    hint: str = ""  # where all names are listed

    def names(self) -> list[str]:
        """Return the names of the shipped ones."""
        folder = resources.files(self.package)
        return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))

    def load(self, source: str | Path) -> dict[str, Any]:
        """Return the raw data of a shipped file (by name), a YAML file or a folder; `name` defaults to its name."""
        path, what, names = Path(source), self.what, self.names()
        choices = f"give a {self.of}'s folder, a {what} file or the name of a shipped {what}"
        if (path / self.kept).is_file():
            path /= self.kept
        elif path.is_dir() and str(source) not in names:
            raise InputError(f"{path or '.'}: the folder has no {self.kept}; {choices}")
        if path.suffix in (".yaml", ".yml") or path.is_file():
            if not path.is_file():
                raise InputError(f"{path}: no such {what} file")
            text, where, name = read_text(path), str(path), path.stem
        elif str(source) in names:
            name = str(source)
            text, where = (resources.files(self.package) / f"{name}.yaml").read_text(), f"{what} {name}"
        elif len(path.parts) > 1:
            raise InputError(f"{path}: no such file or folder; {choices}")
        else:
            hint = self.hint or f"there are {', '.join(names)}"
            raise InputError(f"{source}: no shipped {what} has that name{nearest(str(source), names)}; {hint}")
        data = parse_yaml(text, where)
        if not isinstance(data, dict):
            raise InputError(f"{where}: a {what} must be a mapping of keys, got {type(data).__name__}")
        return {"name": name} | data


RECIPES = Shelf(package="distil.recipes", kept="config.yaml", what="recipe", of="run", hint="see `distil recipes list`")


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return RECIPES.names()


def load_recipe(recipe: str | Path) -> dict[str, Any]:
    """Return the raw data of a shipped recipe (by name), a YAML file or a run's folder; `name` defaults to its name."""
    return RECIPES.load(recipe)


def read_text(path: Path) -> str:
    """Return the text of a YAML file for `parse_yaml`; InputError if it cannot be read or is too large."""
    try:
        if path.stat().st_size > 4 * MAX_YAML_CHARS:  # a character has at most 4 bytes
            raise InputError(f"{path}: {path.stat().st_size} bytes; the limit is {MAX_YAML_CHARS} characters of YAML")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}") from None


def parse_override(text: str) -> tuple[str, Any]:
    """Return the key path and the value of a `key.path=value` argument; the value is parsed as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"{text!r} is not an override: write key.path=value, such as learner.num_steps=5000")
    return key.strip(), parse_yaml(value, f"override {key}")


def apply_overrides(data: Mapping[str, Any], overrides: Mapping[str, Any], model: type[Config] | None = None) -> dict[str, Any]:
    """Return `data` with dotted `overrides` set. Changing a `kind` resets that variant to its defaults.

    Args:
        data: the recipe's data.
        overrides: dotted key -> value.
        model: the Config class of `data`; it distinguishes variants from the user's own mappings (kwargs), where `kind` is
            an ordinary key.
    """
    out: dict[str, Any] = json.loads(json.dumps(data))
    for key in sorted(overrides, key=lambda k: (k.count("."), k.rpartition(".")[2] != "kind")):
        *parents, last = key.split(".")
        node: Any = out
        for part in parents:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
            if not isinstance(node, dict):
                raise InputError(f"{key}: {part} is not a group of keys but {node!r}")
        is_variant = last == "kind" and (model is None or _has_kind(model, parents))
        if is_variant and node.get("kind") != overrides[key]:  # a missing kind is the default, which is unknown here
            node.clear()
        node[last] = deepcopy(overrides[key])  # a deeper key may change it, and the caller keeps its own
    return out


def validate(model: type[C], data: Mapping[str, Any], where: str = "") -> C:
    """Return `data` as `model`; InputError lists every fault in one line, with the nearest valid key."""
    try:
        return model.model_validate_json(json.dumps(model.completed(data)))
    except ValidationError as error:
        faults = redact("; ".join(dict.fromkeys(_fault(model, item) for item in _of_nearest_members(error.errors()))))
        raise InputError(f"{where}: {faults}" if where else faults) from None
    except TypeError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from None


def public(config: Config) -> dict[str, Any]:
    """Return the resolved configuration as JSON data for writing or display; passwords in addresses are replaced."""
    data: dict[str, Any] = redact_all(config.model_dump(mode="json"))
    return data


def to_yaml(config: Config, unset: Iterable[str] = ()) -> str:
    """Return the resolved configuration as YAML, in the order of the fields; passwords are replaced.

    Args:
        config: the configuration.
        unset: dotted keys to mark as required and missing.
    """
    data = public(config)
    for key in unset:
        data = apply_overrides(data, {key: f"{_MARK}{key}"})
    text = yaml.safe_dump(data, sort_keys=False, width=120)
    return re.sub(f"{_MARK}(.*)", r"null  # required: set \1=...", text)


def unset_keys(model: type[Config], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted key -> placeholder value for each required key that `data` lacks, so that the rest can be shown."""
    found: dict[str, Any] = {}
    for key in [path for path, kind in _faults(model, data) if kind == "missing"]:
        for value in _STAND_INS:
            trial = apply_overrides(data, {**found, key: value})
            if not any(f"{path}.".startswith(f"{key}.") for path, _ in _faults(model, trial)):
                found[key] = value
                break
    return found


def _faults(model: type[Config], data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the dotted path and the type of each fault, except faults in lists, which overrides cannot reach."""
    try:
        model.model_validate_json(json.dumps(model.completed(data)))
    except ValidationError as error:
        named = [(item["loc"], item["type"]) for item in error.errors()]
        return [(_readable_path(model, loc)[0], kind) for loc, kind in named if not any(isinstance(p, int) for p in loc)]
    return []


def import_target(target: str, what: str) -> Any:
    """Return the object named `package.module:name`; `what` says in errors what it is (environment, expert ...)."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise InputError(f"{what} target {target!r}: write package.module:name")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the user's module may be in the current folder
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} target {target!r}: no module named {error.name!r}; is it installed or in this folder?"
        ) from None
    except Exception as error:  # the user's own code, while it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{what} target {target!r}: importing {module_name} failed: {reason}") from error
    try:
        value: Any = module
        for part in attribute.split("."):
            value = getattr(value, part)
        return value
    except AttributeError:
        raise InputError(
            f"{what} target {target!r}: {module_name} has no {attribute!r}{nearest(attribute, dir(module))}"
        ) from None


def nearest(word: str, words: list[str]) -> str:
    """Return `; did you mean X?` for the nearest of `words`, or an empty string."""
    match = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def _fault(model: type[Config], item: Any) -> str:
    path, owners = _readable_path(model, item["loc"])
    kind = item["type"]
    if kind == "extra_forbidden":
        names = sorted({name for owner in owners for name in owner.model_fields})
        return f"unknown key {path}{nearest(str(item['loc'][-1]), names) or '; known: ' + ', '.join(names)}"
    if kind == "missing":
        return f"{path} is missing: set {path}=..."
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in item["ctx"]["expected_tags"].split(",")]
        return f"{path}.kind: no kind {item['ctx']['tag']!r}{nearest(item['ctx']['tag'], tags)}; one of {', '.join(tags)}"
    if kind == "union_tag_not_found":
        return f"{path}.kind is missing: set {path}.kind=..."
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if kind == "value_error":  # raised by a whole model: the last part of the path may be a tag
        path = _readable_path(model, (*item["loc"], ""))[0].removesuffix(".")
        return f"{path}: {message}".lstrip(": ")
    return f"{path}: {message}, not {item['input']!r}"


def _of_nearest_members(errors: list[Any]) -> list[Any]:
    """Return the faults without those of a union's other members: the one that came farthest into the value was meant."""
    unions = [next((item["loc"][:i] for i, part in enumerate(item["loc"]) if "[" in str(part)), None) for item in errors]
    depth: dict[Any, int] = {}
    for union, item in zip(unions, errors, strict=True):
        depth[union] = max(depth.get(union, 0), len(item["loc"]))
    return [item for union, item in zip(unions, errors, strict=True) if union is None or len(item["loc"]) == depth[union]]


def _readable_path(model: type[Config], loc: tuple[int | str, ...]) -> tuple[str, list[type[Config]]]:
    """Return the dotted path without pydantic's union tags, and the models that could own its last key."""
    owners, parts = [model], []
    for index, part in enumerate(loc):
        fields = [owner.model_fields[part] for owner in owners if isinstance(part, str) and part in owner.model_fields]
        if not fields:
            tagged = [o for o in owners if "kind" in o.model_fields and o.model_fields["kind"].default == part]
            if tagged and index < len(loc) - 1:
                owners = tagged  # the tag of a discriminated union, not a key
                continue
        if "[" not in str(part):  # otherwise the tag of a plain union, such as dict[str, ...]
            parts.append(str(part))
        if fields and index < len(loc) - 1:
            owners = [m for f in fields for m in _models(f.annotation)] or owners
    return ".".join(parts), owners


def _has_kind(model: type[Config], path: list[str]) -> bool:
    """Return whether the group at `path` is a configuration with a `kind`; groups inside a user's own mapping are not."""
    owners = [model]
    for part in path:
        fields = [owner.model_fields[part] for owner in owners if part in owner.model_fields]
        if fields:  # otherwise the part is a name or a position in a collection of them
            owners = [found for each in fields for found in _models(each.annotation)]
    return any("kind" in owner.model_fields for owner in owners)


def _models(annotation: Any) -> Iterator[type[Config]]:
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)
