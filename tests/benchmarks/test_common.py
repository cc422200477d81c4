import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from common import in_processes


def test_each_case_gets_its_own_result() -> None:
    assert in_processes(math.sqrt, [9.0, 4.0, 1.0], 2) == {9.0: 3.0, 4.0: 2.0, 1.0: 1.0}
