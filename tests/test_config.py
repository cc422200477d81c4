"""Configuration: strictness, readable one-line errors, unions on kind, overrides, recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from distil import config
from distil.config import (
    Config,
    apply_overrides,
    import_target,
    load_recipe,
    parse_override,
    parse_yaml,
    public,
    to_yaml,
    validate,
)
from distil.errors import InputError
from distil.runconfig import load_config


class Inner(Config):
    activation: Literal["relu", "tanh"] = "relu"


class Mlp(Config):
    kind: Literal["mlp"] = "mlp"
    hidden: tuple[int, ...] = (256, 256)
    inner: Inner = Inner()


class Cnn(Config):
    kind: Literal["cnn"] = "cnn"
    channels: int = Field(default=32, gt=0)


class Wrapper(Config):
    target: str
    kwargs: dict[str, Any] = Field(default_factory=dict)


class Learner(Config):
    num_steps: int = Field(default=5000, gt=0)
    learning_rate: float = 1e-3
    ema_decay: float | None = None
    folder: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Learner:
        if self.ema_decay is not None and self.num_steps < 10:
            raise ValueError("ema_decay needs 10 steps: set learner.num_steps=10 or more")
        return self


class Recipe(Config):
    name: str = "r"
    seed: int = 0
    compile: bool = False
    learner: Learner = Learner()
    encoder: Annotated[Mlp | Cnn, Field(discriminator="kind")] = Mlp()
    wrappers: tuple[Wrapper, ...] = ()


def fault(data: Any) -> str:
    with pytest.raises(InputError) as caught:
        validate(Recipe, data, "recipe x")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("recipe x: ")
    return message.removeprefix("recipe x: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"learnr": {}}, "unknown key learnr; did you mean learner?"),
        ({"learner": {"num_step": 1}}, "unknown key learner.num_step; did you mean num_steps?"),
        ({"learner": {"zz": 1}}, "unknown key learner.zz; known: ema_decay, folder, learning_rate, num_steps"),
        ({"encoder": {"kind": "cnn", "chanels": 3}}, "unknown key encoder.chanels; did you mean channels?"),
        (
            {"encoder": {"kind": "mlp", "inner": {"activatoin": "relu"}}},
            "unknown key encoder.inner.activatoin; did you mean activation?",
        ),
        (
            {"wrappers": [{"target": "a:b"}, {"target": "c:d", "kwarg": {}}]},
            "unknown key wrappers.1.kwarg; did you mean kwargs?",
        ),
    ],
)
def test_unknown_keys_name_the_nearest_valid_key(data: Any, message: str) -> None:
    assert fault(data) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"encoder": {"kind": "cn"}}, "encoder.kind: no kind 'cn'; did you mean cnn?; one of mlp, cnn"),
        ({"encoder": {}}, "encoder.kind is missing: set encoder.kind=..."),
        ({"wrappers": [{}]}, "wrappers.0.target is missing: set wrappers.0.target=..."),
        (
            {"encoder": {"kind": "mlp", "inner": {"activation": "selu"}}},
            "encoder.inner.activation: should be 'relu' or 'tanh', not 'selu'",
        ),
        ({"encoder": {"kind": "mlp", "hidden": [64, "x"]}}, "encoder.hidden.1: should be a valid integer, not 'x'"),
        ({"learner": {"num_steps": 0}}, "learner.num_steps: should be greater than 0, not 0"),
        (
            {"learner": {"num_steps": 1, "ema_decay": 0.9}},
            "learner: ema_decay needs 10 steps: set learner.num_steps=10 or more",
        ),
    ],
)
def test_faults_say_where_and_what(data: Any, message: str) -> None:
    assert fault(data) == message


@pytest.mark.parametrize(
    "data",
    [
        {"seed": "1"},
        {"seed": 1.5},
        {"seed": True},
        {"seed": None},
        {"compile": 1},
        {"compile": "yes"},
        {"name": 3},
        {"learner": {"learning_rate": "1e-3"}},
        {"learner": {"learning_rate": float("nan")}},
        {"learner": {"ema_decay": float("inf")}},
        {"learner": None},
        {"learner": 3},
        {"encoder": {"kind": "mlp", "hidden": 256}},
    ],
)
def test_nothing_is_converted_silently(data: Any) -> None:
    assert "should be" in fault(data)


def test_all_faults_are_reported_at_once() -> None:
    message = fault({"seed": "1", "learner": {"num_stps": 3}, "encoder": {"kind": "x"}})
    assert message.count("; ") >= 2
    assert all(key in message for key in ("seed", "learner.num_stps", "encoder.kind"))


def test_what_is_not_json_is_one_line() -> None:
    assert "JSON" in fault({"seed": {1, 2}})


def test_configs_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().seed = 1  # type: ignore[misc]


def test_integers_are_accepted_as_floats_and_lists_as_tuples() -> None:
    recipe = validate(Recipe, {"learner": {"learning_rate": 1, "folder": "/x"}, "encoder": {"kind": "mlp", "hidden": [64]}})
    assert recipe.learner == Learner(learning_rate=1.0, folder=Path("/x"))
    assert recipe.encoder == Mlp(hidden=(64,))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 100_000),
        ("-2e+3", -2000),
        (".5e1", 5.0),
        ("1.5", 1.5),
        ("3", 3),
        ("'1e-3'", "1e-3"),
        ("1e-3-x", "1e-3-x"),
        ("[64, 64]", [64, 64]),
        ("{b: 1e-3}", {"b": 1e-3}),
        ("true", True),
        ("null", None),
        ("", None),
        ("2026-01-31", "2026-01-31"),
        ("LunarLander-v3", "LunarLander-v3"),
        ("package.module:name", "package.module:name"),
        ("b=c", "b=c"),
    ],
)
def test_overrides_are_read_as_yaml(text: str, value: Any) -> None:
    got = parse_override(f"a.b={text}")
    assert got == ("a.b", value)
    assert type(got[1]) is type(value)


@pytest.mark.parametrize("text", ["a", "=3", "a=[1", "a=*x", "--resume", "a=\x00", "a={b: 1, b: 2}"])
def test_a_broken_override_is_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_override(text)
    assert "\n" not in str(caught.value)


def test_overrides_create_missing_groups() -> None:
    base = {"learner": {"num_steps": 1}, "store": None}
    got = apply_overrides(base, {"learner.num_steps": 2, "policy.head.loss": "l1", "store.path": "x"})
    assert got == {"learner": {"num_steps": 2}, "policy": {"head": {"loss": "l1"}}, "store": {"path": "x"}}
    assert base == {"learner": {"num_steps": 1}, "store": None}


def test_a_group_is_set_before_its_keys() -> None:
    assert apply_overrides({"a": {"b": 1}}, {"a.d": 3, "a": {"c": 2}}) == {"a": {"c": 2, "d": 3}}


@pytest.mark.parametrize("order", [1, -1])
def test_a_change_of_kind_drops_the_old_variants_keys(order: int) -> None:
    base = {"encoder": {"kind": "mlp", "hidden": [64], "inner": {"activation": "tanh"}}}
    overrides = dict([("encoder.kind", "cnn"), ("encoder.channels", 8)][::order])
    assert validate(Recipe, apply_overrides(base, overrides)).encoder == Cnn(channels=8)


def test_an_omitted_kind_changes_too() -> None:
    assert apply_overrides({"env": {"id": "X"}}, {"env.kind": "import", "env.target": "a:b"}) == {
        "env": {"kind": "import", "target": "a:b"}
    }


def test_the_same_kind_keeps_its_keys() -> None:
    base = {"encoder": {"kind": "mlp", "hidden": [64]}}
    assert apply_overrides(base, {"encoder.kind": "mlp"}) == base


@pytest.mark.parametrize("group", ["wrapper.kwargs", "wrapper.kwargs.inner", "named.a.kwargs"])
def test_a_key_named_kind_in_a_users_mapping_drops_nothing(group: str) -> None:
    class Own(Recipe):
        wrapper: Wrapper
        named: dict[str, Wrapper | Mlp]

    kwargs = {"kind": "a", "size": 3}
    base = {"wrapper": {"target": "x:y", "kwargs": {**kwargs, "inner": kwargs}}, "named": {"a": {"kwargs": kwargs}}}
    got: Any = apply_overrides(base, {f"{group}.kind": "b"}, Own)
    for part in group.split("."):
        got = got[part]
    assert (got["kind"], got["size"]) == ("b", 3)
    assert apply_overrides({}, {"wrapper.kwargs.kind": "b", "wrapper.kwargs": {"size": 3}}, Own) == {
        "wrapper": {"kwargs": {"kind": "b", "size": 3}}
    }
    assert apply_overrides({"named": {"a": {"kind": "wrapper", "x": 1}}}, {"named.a.kind": "mlp"}, Own) == {
        "named": {"a": {"kind": "mlp"}}
    }


def test_nested_kinds_change_from_the_outside_in() -> None:
    base = {"policy": {"kind": "a", "head": {"kind": "b", "loss": "l1"}, "x": 1}}
    got = apply_overrides(base, {"policy.head.kind": "c", "policy.kind": "d"})
    assert got == {"policy": {"kind": "d", "head": {"kind": "c"}}}


def test_an_override_below_a_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"seed\.x: seed is not a group of keys but 3"):
        apply_overrides({"seed": 3}, {"seed.x": 1})


def test_a_resolved_configuration_reads_back_the_same() -> None:
    recipe = Recipe(
        learner=Learner(learning_rate=1e-5, folder=Path("x")), encoder=Cnn(channels=3), wrappers=(Wrapper(target="a:b"),)
    )
    assert validate(Recipe, parse_yaml(to_yaml(recipe), "config.yaml")) == recipe


def test_recipes_load_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learner: {learning_rate: 1e-4}\n")
    assert load_recipe(path) == {"name": "mine", "learner": {"learning_rate": 1e-4}}
    path.write_text("name: other\n")
    assert load_recipe(str(path)) == {"name": "other"}
    for name in config.recipe_names():
        assert load_recipe(name)["name"] == name


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "lunarlander-cb",
            r"lunarlander-cb: no shipped recipe has that name; did you mean lunarlander-bc\?; see `distil recipes list`",
        ),
        ("nowhere/x.yaml", "nowhere/x.yaml: no such recipe file"),
        ("runs/nowhere-001", "^runs/nowhere-001: no such file or folder; give a run's folder"),
    ],
)
def test_a_missing_recipe_names_alternatives(recipe: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe(recipe)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must be a mapping of keys, got list"),
        ("", "NoneType"),
        ("a: [1\nb: 2\n", "line 2"),
        ("seed: 1\nlearner:\n  a: 1\n  a: 2\n", "line 4: not valid YAML: duplicate key a"),
    ],
)
def test_a_broken_recipe_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_yaml_creates_no_objects() -> None:
    with pytest.raises(InputError, match="constructor"):
        parse_yaml("a: !!python/object/apply:os.getcwd []", "x")


def test_import_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert import_target("distil.errors:InputError", "expert") is InputError
    assert import_target("json.decoder:JSONDecoder.decode", "expert").__name__ == "decode"
    (tmp_path / "my_own_expert.py").write_text("def act(): return 3\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)  # the user's folder
    assert import_target("my_own_expert:act", "expert")() == 3


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("json", "write package.module:name"),
        (":x", "write package.module:name"),
        (".json:loads", "write package.module:name"),
        ("json:lods", "json has no 'lods'; did you mean loads?"),
        ("no_such_module:x", "no module named 'no_such_module'"),
    ],
)
def test_a_missing_import_target(target: str, message: str) -> None:
    with pytest.raises(InputError, match="expert target ") as caught:
        import_target(target, "expert")
    assert message in str(caught.value)


def test_a_binary_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"policy\.safetensors: can't be read"):
        load_recipe(path)


def test_a_module_that_fails_on_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_broken_expert.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="importing my_broken_expert failed: ZeroDivisionError"):
        import_target("my_broken_expert:act", "expert")


@pytest.mark.parametrize(("text", "value"), [("1e4", 10_000), ("1e-3", 0.001), ("1.0e4", 10_000.0), ("2.5e1", 25.0)])
def test_a_count_may_be_written_with_an_exponent(text: str, value: float) -> None:
    key, parsed = parse_override(f"a={text}")
    assert (key, parsed) == ("a", value)
    assert type(parsed) is type(value)


def test_faults_of_a_whole_group_are_named_without_its_kind():
    with pytest.raises(InputError, match=r"algorithm: a gate decides who acts"):
        load_config("cartpole-dagger", {"algorithm.gate.kind": "safe", "algorithm.beta.kind": "linear"})


def test_a_shown_configuration_has_no_password() -> None:
    class Tracked(Config):
        uri: str
        number: int = 1

    with_password = Tracked(uri="postgresql://me:hunter22@host/db")
    assert public(with_password) == {"uri": "postgresql://me:***@host/db", "number": 1}
    assert to_yaml(with_password) == "uri: postgresql://me:***@host/db\nnumber: 1\n"
    with pytest.raises(InputError) as caught:
        validate(Tracked, {"uri": ["postgresql://me:hunter22@host/db"]})
    assert "hunter22" not in str(caught.value)


def test_overrides_are_left_as_they_are() -> None:
    overrides = {"policy.head": {"kind": "flow"}, "policy.head.num_steps": 2}
    assert apply_overrides({}, overrides) == {"policy": {"head": {"kind": "flow", "num_steps": 2}}}
    assert overrides["policy.head"] == {"kind": "flow"}
