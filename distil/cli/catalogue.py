"""`distil experts ...` and `distil recipes ...`: the available experts and recipes."""

from __future__ import annotations

import json

import click

from distil.cli.common import JSON, OVERRIDES, RECIPE, RESUME, RUN, console, listing, read_overrides, show
from distil.cli.results import result_text


@click.group()
def experts() -> None:
    """Experts: the sources of demonstrations and labels."""


@experts.command("list")
def experts_list() -> None:
    """List the kinds of experts and the scripted experts."""
    from distil.experts import catalogue

    click.echo(listing(catalogue()))


@experts.command("evaluate")
@RECIPE
@OVERRIDES
@JSON
def experts_evaluate(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Measure a recipe's expert and a random policy on the held-out episodes."""
    from distil import api

    with console(as_json) as progress:
        outcome = api.evaluate_expert(recipe, read_overrides(overrides), progress=progress)
    show(as_json, outcome.to_json(), outcome.text)


@experts.command("train")
@RECIPE
@OVERRIDES
@RESUME
@RUN
@JSON
def experts_train(recipe: str, overrides: tuple[str, ...], resume: bool, run: str | None, as_json: bool) -> None:
    """Train an expert by reinforcement learning on the environment's own reward.

    With algorithm.reward.kind=learned algorithm.reward.path=RUN, the reward is the one that RUN learned.

    The result is a policy like any other, and serves as an expert at once.
    """
    from distil import api

    with console(as_json) as progress:
        done = api.train_expert(recipe, read_overrides(overrides), resume=resume, run=run, progress=progress)
    result = {"run": str(done.path)} | dict(done.metrics)
    kind, path = done.expert
    use = f"as an expert: expert.kind={kind} expert.path={path}"
    show(as_json, result, lambda: f"{result_text(done)}\n\nrun: {done.path}\n{use}")


@click.group()
def recipes() -> None:
    """Recipes that ship with distil."""


@recipes.command("list")
def recipes_list() -> None:
    """List the names of the recipes and what each does."""
    from importlib import resources

    from distil.config import recipe_names

    texts = {name: (resources.files("distil.recipes") / f"{name}.yaml").read_text() for name in recipe_names()}
    click.echo(listing({name: text.splitlines()[0].lstrip("# ") for name, text in texts.items()}))


@recipes.command("show")
@RECIPE
@OVERRIDES
def recipes_show(recipe: str, overrides: tuple[str, ...]) -> None:
    """Show the full configuration of a recipe, with defaults and overrides; missing required keys are marked."""
    from distil.config import apply_overrides, load_recipe, to_yaml, unset_keys
    from distil.runconfig import RunConfig, load_config

    words = read_overrides(overrides)
    unset = unset_keys(RunConfig, apply_overrides(load_recipe(recipe), words, RunConfig))
    click.echo(to_yaml(load_config(recipe, words | unset), unset), nl=False)


@recipes.command("schema")
def recipes_schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from distil.runconfig import RunConfig

    click.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
