from pathlib import Path

import pytest
from interactionbed import learning_round, streams_of

from distil.algorithms.gail import GailConfig
from distil.errors import InputError
from distil.plans import StreamPlan


def test_it_learns_from_its_newest_round_alone() -> None:
    config = GailConfig()
    step, reward = config.parts
    assert (step.kind, reward.kind) == ("ppo", "discriminator")
    todo = learning_round(config)
    assert todo.update is not None
    assert todo.update.streams == {"agent": StreamPlan(source="agent", num_rounds=1), "demos": StreamPlan()}
    assert todo.collect is not None
    assert todo.collect.agent == "policy"


def test_ends_that_differ_are_not_ignored(tmp_path: Path) -> None:
    """CORRECTNESS 17: before anything is learned, with the key to set."""
    config = GailConfig.model_validate({"reward": {"ends": "ignore"}})
    demonstrations = streams_of(tmp_path, "gail")["demos"].parts[0]
    config.check_demonstrations(demonstrations.select([1]).episodes)  # cut by a limit of time
    words = r"1 of 2 demonstrations ended the task, and they have 11 to 25 steps.*set algorithm\.reward\.ends=absorbing"
    with pytest.raises(InputError, match=words):
        config.check_demonstrations(demonstrations.episodes)
    GailConfig().check_demonstrations(demonstrations.episodes)
