from pathlib import Path

import pytest

from distil.config import validate
from distil.errors import RunError
from distil.plans import CheckPlan
from distil.questions import Questions
from distil.runconfig import RunConfig
from distil.rundir import RunDir
from distil.seeding import Purpose
from distil.session import Session

CONFIG = {
    "env": {"id": "CartPole-v1", "max_episode_steps": 20},
    "expert": {"kind": "scripted"},
    "rollouts": {"num_workers": 0, "num_envs": 4},
}


def session() -> Session:
    return Session(validate(RunConfig, CONFIG))


def test_what_is_asked_is_counted_by_what_it_is_for_and_kept_in_the_journal(tmp_path: Path) -> None:
    """CORRECTNESS 16."""
    rundir = RunDir.create(tmp_path, "a", "")
    with session() as shared:
        shared.evaluate("expert", 2)  # asked for another run of the session
        questions = Questions(rundir, shared)
        with questions.counted("check", 0):
            shared.baselines(3, Purpose.TUNE)
        for num in (4, 4):  # what the session knows already costs nothing and has no line
            with questions.counted("eval", 0):
                shared.baselines(num)
        with pytest.raises(RunError, match="below"), questions.counted("check", 1):
            shared.check_experts(CheckPlan(num_episodes=5, min_return=21.0))
        shared.evaluate("expert", 2)
        expected = {"check": (3 + 5) * 20, "eval": 4 * 20}
        assert questions.totals() == Questions(RunDir(rundir.path), shared).totals() == expected
        assert len(rundir.journal("asked")) == 3


def test_a_kill_before_the_result_is_kept_leaves_no_question_uncounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 16: the next process asks again, and counts again."""
    rundir = RunDir.create(tmp_path, "a", "")

    def kill(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch, session() as shared:
        patch.setattr("distil.rollouts.baselines.replace_durably", kill)
        with pytest.raises(SystemExit), Questions(rundir, shared).counted("eval", 0):
            shared.baselines(2)
    assert Questions(rundir, shared).totals() == {"eval": 2 * 20}
    for _ in range(2):  # the second process asks nothing
        with session() as shared, Questions(rundir, shared).counted("eval", 0):
            shared.baselines(2)
        assert Questions(rundir, shared).totals() == {"eval": 4 * 20}
