"""How many steps a run asks experts about apart from collecting: for the check and for the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from distil.rundir import RunDir
from distil.session import Session


class Questions:
    """The counts of one run, in its journal. A score that the session has already costs nothing."""

    def __init__(self, rundir: RunDir, session: Session) -> None:
        """Count what `session` asks for the run in `rundir`."""
        self._rundir, self._session = rundir, session

    @contextmanager
    def counted(self, what: str, round_index: int) -> Iterator[None]:
        """Count the steps that experts are asked about in the `with` block under `what`, even if the block fails."""

        def note(num: int) -> None:
            self._rundir.append("asked", round=round_index, what=what, num_queries=num)

        with self._session.counting(note):
            yield

    def totals(self) -> dict[str, int]:
        """Return the numbers of steps so far, by what they were asked for."""
        totals = dict[str, int]()
        for line in self._rundir.journal("asked"):
            totals[line["what"]] = totals.get(line["what"], 0) + line["num_queries"]
        return totals
