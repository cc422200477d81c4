from pathlib import Path
from typing import Any

import pytest
from sweepbed import sweep

from distil.errors import InputError
from distil.sweep.families import families, metric_of, trial_config


def test_each_family_has_its_configuration_and_space() -> None:
    bc, dagger = families(sweep())
    assert (bc.config.algorithm.kind, dagger.config.algorithm.kind) == ("bc", "dagger")
    assert bc.config.store_path == dagger.config.store_path
    assert "algorithm.from_scratch" in dagger.space
    assert "algorithm.from_scratch" not in bc.space


def test_a_trial_has_its_values_and_is_scored_as_the_sweep_says() -> None:
    config = sweep(tuning_episodes=7, looks=4)
    bc, dagger = families(config)
    found = trial_config(config, bc.config, {"learner.batch_size": 32}, where="here", more={"seed": 9})
    assert (found.learner.batch_size, found.seed, found.evaluation.episodes) == (32, 9, 0)
    assert (found.algorithm.tuning_episodes, found.algorithm.tune_every) == (7, 5)
    assert trial_config(config, dagger.config, {}, where="here").algorithm.tuning_episodes == 7


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"learner.learning_rat": {"choice": [1]}}, r"unknown key learner\.learning_rat; did you mean learner\.learning_rate"),
        ({"learner.batch_size": {"choice": [32, -1]}}, r"families\.bc\.search\.learner\.batch_size=-1"),
        ({"learner.batch_size": {"uniform": [1.5, 2.5]}}, r"families\.bc\.search\.learner\.batch_size=1\.5"),
        ({"policy.head.kind": {"choice": ["gaussian", "gauss"]}}, "no kind 'gauss'"),
    ],
)
def test_a_space_over_wrong_keys_or_values_is_refused(search: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        families(sweep(families={"bc": {"search": search}}))


def test_a_variant_may_vary() -> None:
    config = sweep(families={"bc": {"search": {"policy.head.kind": {"choice": ["categorical", "auto"]}}}})
    (bc,) = families(config)
    assert trial_config(config, bc.config, {"policy.head.kind": "categorical"}, where="x").policy.head.kind == "categorical"


def test_families_of_different_environments_or_experts_are_refused() -> None:
    other = {"a": {}, "b": {"set": {"env.max_episode_steps": 30}}}
    with pytest.raises(InputError, match="families a and b have different env"):
        families(sweep(families=other))
    with pytest.raises(InputError, match="families a and b have different expert"):
        families(sweep(families={"a": {}, "b": {"set": {"expert.paid": True}}}))


@pytest.mark.parametrize("part", ["set", "search"])
def test_trials_that_would_need_a_password_are_refused(part: str) -> None:
    address = "http://me:hunter22@host/x"
    value = {"set": address, "search": {"choice": ["", address]}}[part]
    with pytest.raises(
        InputError, match=r"families\.bc.*: env\.kwargs\.url=http://me:\*\*\*@host/x: passwords are never written"
    ):
        families(sweep(families={"bc": {"set": {"env.kwargs.url": ""}} | {part: {"env.kwargs.url": value}}}))
    tracked = {**sweep().set, "tracking.enabled": True, "tracking.uri": "postgresql://me:hunter22@db/x"}
    assert families(sweep(set=tracked))[0].config.tracking.uri == tracked["tracking.uri"]


def test_a_sweep_needs_an_environment() -> None:
    keys = {"set": {"env": None, "expert": None, "evaluation.episodes": 0, "tracking.enabled": False}}
    with pytest.raises(InputError, match=r"no environment: set env\.id"):
        families(sweep(families={"bc": {}}, **keys))


def test_what_trials_are_ranked_by() -> None:
    found = families(sweep())
    assert metric_of(sweep(), found, has_successes=False).name == "tune/normalised"
    without = families(sweep(set={**sweep().set, "evaluation.baselines": False}))
    assert metric_of(sweep(), without, has_successes=False).name == "tune/return_mean"
    for metric, words in (
        ("tune/returns", "did you mean tune/return_"),
        ("tune/success_rate", "reports no success"),
        ("tune/wasserstein", "family bc does not measure it"),
    ):
        with pytest.raises(InputError, match=words):
            metric_of(sweep(metric=metric), found, has_successes=False)
    with pytest.raises(InputError, match="needs a score of the expert"):
        metric_of(sweep(metric="tune/normalised"), without, has_successes=False)
    sqil = sweep(metric="tune/wasserstein", families={"sqil": {"recipe": "cartpole-sqil"}}, set={"tracking.enabled": False})
    assert metric_of(sqil, families(sqil), has_successes=False).sign == -1


def test_a_given_reward_is_pinned_before_any_trial(tmp_path: Path) -> None:
    (tmp_path / "reward.safetensors").write_bytes(b"1")
    given = {"kind": "rl", "reward": {"kind": "learned", "path": str(tmp_path)}}
    base = {"set": {"tracking.enabled": False}}
    (family,) = families(sweep(families={"rl": {"recipe": "cartpole-ppo", "set": {"algorithm": given}}}, **base))
    assert family.config.algorithm.reward.digest
    given = {"kind": "rl", "reward": {"kind": "learned", "path": str(tmp_path / "nowhere")}}
    with pytest.raises(InputError, match=r"families\.rl: .*nowhere: no reward there"):
        families(sweep(families={"rl": {"recipe": "cartpole-ppo", "set": {"algorithm": given}}}, **base))
