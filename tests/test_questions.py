from pathlib import Path
from typing import Any

import pytest

from distil.questions import Questions
from distil.rundir import RunDir


class Asking:
    """As much of a session as is looked at."""

    num_queries = 5  # asked for another run of the session

    def fail(self, num: int) -> None:
        self.num_queries += num
        raise ZeroDivisionError


def test_what_is_asked_is_counted_by_what_it_is_for_and_kept_in_the_journal(tmp_path: Path) -> None:
    """CORRECTNESS 16."""
    rundir, session = RunDir.create(tmp_path, "a", ""), Asking()
    questions = Questions(rundir, session)  # type: ignore[arg-type]
    for what, num in (("check", 3), ("eval", 4), ("eval", 0)):
        with questions.counted(what, 0):
            session.num_queries += num
    with pytest.raises(ZeroDivisionError), questions.counted("eval", 1):
        session.fail(2)
    again: Any = Asking()
    assert questions.totals() == Questions(RunDir(rundir.path), again).totals() == {"check": 3, "eval": 6}
    assert len(rundir.journal("asked")) == 3  # what cost nothing has no line
