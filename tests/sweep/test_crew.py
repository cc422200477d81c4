import pytest

from distil.sweep.crew import Crew


@pytest.mark.parametrize("missing", ["next", "heard", "ended"])
def test_a_crew_must_decide(missing: str) -> None:
    members = {name: lambda self: None for name in ("next", "heard", "ended") if name != missing}
    with pytest.raises(TypeError, match=missing):
        type("Half", (Crew,), members)()
