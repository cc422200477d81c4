import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from distil.algorithms.bc import BCConfig
from distil.algorithms.dagger import DaggerConfig, LinearBeta
from distil.config import parse_override, recipe_names, to_yaml, validate
from distil.errors import InputError
from distil.experts.gates.config import SafeGateConfig, ThriftyGateConfig
from distil.runconfig import RunConfig, load_config

EXPERT = {"expert": {"kind": "scripted"}}


def config(**keys: Any) -> RunConfig:
    return validate(RunConfig, {"env": {"id": "CartPole-v1"}} | keys)


def test_the_algorithm_is_chosen_by_its_kind():
    assert load_config("cartpole-bc").algorithm == BCConfig()
    changed = load_config("cartpole-bc", {"algorithm.kind": "dagger", "algorithm.rounds": 3, "algorithm.beta.kind": "linear"})
    assert changed.algorithm == DaggerConfig(rounds=3, beta=LinearBeta())
    with pytest.raises(InputError, match="did you mean dagger"):
        load_config("cartpole-bc", {"algorithm.kind": "daggr"})


def test_the_budget_knows_expert_and_limit():
    config = load_config("cartpole-dagger", {"data.episodes": 7})
    budget = config.budget(500)
    assert (budget.num_demonstrations, budget.max_episode_steps, budget.has_expert) == (7, 500, True)
    own = config.model_copy(update={"expert": None}).budget()
    assert (own.num_demonstrations, own.has_expert) == (None, False)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid(name):
    needs_path = "sb3" in (resources.files("distil.recipes") / f"{name}.yaml").read_text()
    config = load_config(name, {"expert.path": "x.zip"} if needs_path else {})
    assert config.name == name
    config.algorithm.build(config.budget(1000))
    assert getattr(config.algorithm, "min_expert_return", None) is None  # a floor would be wrong for another environment


@pytest.mark.parametrize("recipe", recipe_names())
def test_a_resolved_configuration_reads_back_as_it_was(recipe: str, tmp_path: Path) -> None:
    """What a run writes to its config.yaml repeats the run."""
    overrides = {"name": "mine", "seed": 7, "data.path": str(tmp_path / "demos"), "expert": {"kind": "scripted"}}
    first = load_config(recipe, overrides)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(first))
    assert load_config(path) == first
    assert first.seed == 7


def test_a_run_of_an_earlier_version_keeps_its_tanh(tmp_path: Path) -> None:
    """Its config.yaml has no `policy.head.bound`; a recipe that a user wrote has none either, and means the default."""
    data = yaml.safe_load(to_yaml(load_config("cartpole-bc")))
    assert data["policy"]["head"].pop("bound") == "clip"
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_config(path).policy.head.bound == "clip"
    (tmp_path / "versions.json").write_text("{}")
    assert load_config(path).policy.head.bound == load_config(tmp_path).policy.head.bound == "tanh"
    assert load_config(path, {"policy.head.bound": "clip"}).policy.head.bound == "clip"


def test_the_store_is_named_after_the_run_unless_it_has_a_path() -> None:
    assert config(name="mine").store_path == Path("data/mine")
    assert config(name="mine", data={"path": "elsewhere/demos"}).store_path == Path("elsewhere/demos")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (EXPERT | {"data": {"episodes": 5}}, 5),
        (EXPERT | {"data": {"episodes": None}}, None),  # the store as it is
        ({"data": {"episodes": 5}}, None),  # nobody to collect from
    ],
    ids=["collects", "as it is", "no expert"],
)
def test_demonstrations_are_granted_where_an_expert_gives_them(keys: dict[str, Any], expected: int | None) -> None:
    budget = config(**keys).budget()
    assert budget.num_demonstrations == expected
    assert budget.has_expert == ("expert" in keys)


def test_the_budget_is_what_the_components_say() -> None:
    keys = {"learner": {"num_steps": 123}, "evaluation": {"episodes": 9, "baselines": False}}
    budget = config(**keys).budget(max_episode_steps=77)
    assert (budget.num_steps, budget.num_evaluation_episodes, budget.baselines, budget.max_episode_steps) == (123, 9, False, 77)
    assert config().budget().max_episode_steps is None


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b"])
def test_a_name_is_a_folder_s(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        config(name=name)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"evaluation.episode": 3}, r"evaluation\.episode; did you mean episodes\?"),
        ({"data.episodes": 0}, r"data\.episodes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        load_config("cartpole-bc", overrides)


KEYBOARD = {"kind": "human", "intervener": {"kind": "keyboard", "keys": {"left": 0}}}
WATCHED = {"rollouts": {"num_workers": 0, "num_envs": 1}, "env": {"id": "CartPole-v1", "kwargs": {"render_mode": "human"}}}


def test_the_gate_is_the_algorithms() -> None:
    assert config().gate is None
    assert config(algorithm={"kind": "dagger"}).gate is None
    assert config(algorithm={"kind": "dagger", "gate": {"kind": "safe"}}).gate == SafeGateConfig()
    ensemble = {"algorithm": {"kind": "dagger", "gate": {"kind": "thrifty"}}, "policy": {"ensemble": 2}}
    assert config(**ensemble).gate == ThriftyGateConfig()
    assert config(algorithm={"kind": "dagger", "gate": KEYBOARD}, **WATCHED).gate is not None
    assert (
        config(algorithm={"kind": "dagger", "gate": KEYBOARD}, **WATCHED | {"rollouts": {"num_envs": 1}}).workers.num_workers
        == 0
    )
    assert config().workers.num_workers == "auto"
    own = {"kind": "import", "target": "m:env"}  # it may open a window in its own way
    assert config(algorithm={"kind": "dagger", "gate": KEYBOARD}, **WATCHED | {"env": own}).gate is not None


@pytest.mark.parametrize(
    ("gate", "keys", "text"),
    [
        ({"kind": "ensemble"}, {}, r"gate\.kind=ensemble asks how much .* and it has one: set policy\.ensemble=5"),
        ({"kind": "thrifty"}, {"policy": {"ensemble": 1}}, r"set policy\.ensemble=5"),
        (KEYBOARD, WATCHED | {"rollouts": {"num_envs": 1, "num_workers": 2}}, r"set rollouts\.num_workers=0, num_envs=1"),
        (KEYBOARD, WATCHED | {"rollouts": {"num_workers": 0}}, r"set rollouts\.num_workers=0, num_envs=1"),
        (KEYBOARD, WATCHED | {"env": {"id": "CartPole-v1"}}, r"set env\.kwargs\.render_mode=human"),
        ({"kind": "saef"}, {}, r"algorithm\.gate\.kind: no kind 'saef'; did you mean safe"),
        ({"kind": "safe", "treshold": 1}, {}, r"unknown key algorithm\.gate\.treshold; did you mean threshold"),
        ({"kind": "human", "intervener": {"kind": "keyboard", "kyes": {}}}, {}, r"gate\.intervener\.kyes; did you mean keys"),
    ],
)
def test_a_gate_that_cannot_work_is_refused(gate: dict[str, Any], keys: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        config(algorithm={"kind": "dagger", "gate": gate}, **keys)
    assert "\n" not in str(error.value)


PARTS = [{"path": "a", "weight": 2}, {"path": "b"}]


def test_a_mixture_replaces_the_store(tmp_path: Path) -> None:
    """From a recipe, from the command line's words, and read back from what a run writes."""
    (tmp_path / "mine.yaml").write_text("env: {id: CartPole-v1}\nexpert: {kind: scripted}\n")
    overrides = dict([parse_override("data.mixture.parts=[{path: a, weight: 2}, {path: b}]")])
    made = load_config(tmp_path / "mine.yaml", overrides)
    assert made.data.mixture is not None
    assert [(part.path, part.weight) for part in made.data.mixture.parts] == [("a", 2.0), ("b", 1.0)]
    assert made.data.episodes is None
    assert made.budget().num_demonstrations is None  # nothing is collected
    (tmp_path / "config.yaml").write_text(to_yaml(made))
    assert load_config(tmp_path / "config.yaml") == made
    assert (config(**EXPERT).data.episodes, config().data.episodes) == (200, None)
    assert RunConfig.model_json_schema()["$defs"]["DataConfig"]["properties"]["episodes"]["default"] == 200


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"data": {"path": "x"}}, "data: path cannot be combined with mixture; set data.path=null"),
        ({"data": {"episodes": 5}}, "data: episodes cannot be combined with mixture; set data.episodes=null"),
        ({"data": {"select": {"min_return": 1.0}}}, "data: select cannot be combined with mixture"),
        (EXPERT | {"algorithm": {"kind": "dagger"}}, "dagger collects into one store.*: set data.path, or kind=bc"),
        ({"data": {"mixture": {"parts": []}}}, "data.mixture.parts"),
        ({"data": {"mixture": {"parts": [{"path": "a", "wait": 2}]}}}, "did you mean weight"),
    ],
    ids=["path", "episodes", "select", "dagger", "empty", "misspelt"],
)
def test_what_cannot_be_combined_with_a_mixture(keys: dict[str, Any], text: str) -> None:
    data = {"mixture": {"parts": PARTS}} | keys.get("data", {})
    with pytest.raises(InputError, match=text) as error:
        config(**keys | {"data": data})
    assert "\n" not in str(error.value)


def test_an_environment_that_is_not_the_recipes_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Equal spaces let Walker2d's and HalfCheetah's demonstrations into one store."""
    (tmp_path / "mine.yaml").write_text("env: {id: Walker2d-v5, kwargs: {a: 1}}\nexpert: {kind: random}\n")

    def folder(**overrides: Any) -> str:
        return str(load_config(tmp_path / "mine.yaml", overrides).store_path)

    assert folder() == folder(**{"env.max_episode_steps": 7}) == folder(**{"env.kwargs.render_mode": "human"}) == "data/mine"
    others = [folder(**{"env.id": "HalfCheetah-v5"}), folder(**{"env.id": "HalfCheetah-v5", "env.kwargs": {}})]
    others += [folder(**{"env.kwargs.a": 2}), folder(**{"env": {"kind": "import", "target": "my.module:Env"}})]
    assert len({"data/mine", *others}) == 5
    assert others[1::2] == ["data/mine-HalfCheetah-v5", "data/mine-my.module-Env"]
    assert folder(**{"env.id": "HalfCheetah-v5", "data.path": "x"}) == "x"
    changed = load_config(tmp_path / "mine.yaml", {"env.id": "HalfCheetah-v5"})
    (tmp_path / "config.yaml").write_text(to_yaml(changed))
    assert load_config(tmp_path / "config.yaml") == changed


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (EXPERT, "expert.kind=scripted needs one: set env.id, or remove expert"),
        ({"algorithm": {"kind": "dagger"}}, "algorithm.kind=dagger needs one: set env.id, or algorithm.kind=bc"),
        ({"evaluation": {"episodes": 20}}, "evaluation.episodes=20 needs one: set env.id, or evaluation.episodes=0"),
        ({"evaluation": {"video": True}}, "evaluation.video=true needs one"),
    ],
    ids=["expert", "dagger", "evaluation", "video"],
)
def test_what_needs_an_environment_is_refused_without_one(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"env is missing, and {text}")):
        config(**{"env": None, **keys})
    assert config(env=None).evaluation.episodes == 0
    assert config().evaluation.episodes == 50


@pytest.mark.parametrize(
    ("expert", "algorithm", "evaluation", "text"),
    [
        (
            {"paid": True},
            {"stop": {"normalised": 0.9}},
            {},
            "algorithm.stop.normalised=0.9 needs .*expert.paid=true leaves out",
        ),
        ({"paid": True}, {"min_expert_return": 3.0}, {}, "algorithm.min_expert_return=3.0 needs .*expert.paid=true leaves out"),
        ({}, {"stop": {"normalised": 0.9}}, {"baselines": False}, "which evaluation.baselines=false leaves out"),
    ],
)
def test_limits_on_scores_that_are_not_measured_are_refused(
    expert: dict[str, Any], algorithm: dict[str, Any], evaluation: dict[str, Any], text: str
) -> None:
    keys = {"expert": {"kind": "scripted", **expert}, "algorithm": {"kind": "dagger", **algorithm}, "evaluation": evaluation}
    with pytest.raises(InputError, match=text):
        config(**keys)


def test_one_paid_expert_of_several_is_enough() -> None:
    members = {"a": {"kind": "scripted"}, "b": {"kind": "random", "paid": True}}
    assert config(expert={"kind": "several", "members": members}).is_paid
    budget = config(expert={"kind": "several", "members": members}).budget()
    assert (budget.baselines, budget.may_check, budget.has_expert) == (False, False, True)
    assert not config(**EXPERT).is_paid


@pytest.mark.parametrize(
    ("part", "keys", "text"),
    [
        ("learner", {"num_steps": 9000}, r"learner\.num_steps=9000 has no effect .*=dac: set algorithm\.steps, which counts"),
        ("learner", {"validation_fraction": 0.1}, r"learner\.validation_fraction=0\.1 has no effect .*: leave it at 0"),
        ("learner", {"augment": [{"kind": "noise", "std": 0.1}]}, r"learner\.augment=.* has no effect .*: remove it"),
        ("learner", {"precision": "bf16"}, r"learner\.precision=bf16 has no effect"),
        ("learner", {"compile": True}, r"learner\.compile=True has no effect"),
        ("policy", {"obs_horizon": 2}, r"policy\.obs_horizon=2 has no effect .*: leave it at 1: transitions have one obs"),
        ("policy", {"chunk": 4}, r"policy\.chunk=4 has no effect .*: leave it at 1: transitions have one action"),
        ("policy", {"ensemble": 3}, r"policy\.ensemble=3 has no effect .*; for several critics, set algorithm\.step"),
    ],
)
def test_a_key_that_has_no_effect_is_refused(part: str, keys: dict[str, Any], text: str) -> None:
    """Where a policy learns by interaction; nothing that is set goes unheard."""
    base = {"env": {"id": "Pendulum-v1"}, "algorithm": {"kind": "dac"}}
    with pytest.raises(InputError, match=text) as caught:
        validate(RunConfig, base | {part: keys})
    assert "\n" not in str(caught.value)
    if part == "learner" and "num_steps" in keys:
        validate(RunConfig, base | {part: keys, "algorithm": {"kind": "bc"}})
    again = validate(RunConfig, base)
    assert validate(RunConfig, again.model_dump(mode="json")) == again  # a saved configuration has all keys


def test_who_learns_by_acting_needs_an_environment() -> None:
    with pytest.raises(InputError, match=r"env is missing, and algorithm\.kind=sqil needs one"):
        validate(RunConfig, {"algorithm": {"kind": "sqil"}})
    with pytest.raises(InputError, match=r"unknown key algorithm\.overlap"):
        validate(RunConfig, {"env": {"id": "CartPole-v1"}, "algorithm": {"kind": "gail", "overlap": 1}})
