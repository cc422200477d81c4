import subprocess
import sys

import pytest
from pydantic import TypeAdapter

from distil.errors import InputError, RunError
from distil.objectives.config import ImportObjectiveConfig, ObjectiveConfig, SupervisedConfig
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import ALONE
from distil.objectives.supervised import Supervised

IMPORTED = ImportObjectiveConfig(target="mine:Own")


def test_the_configuration_chooses_the_objective(make_policy):
    config = TypeAdapter(ObjectiveConfig).validate_python({"kind": "supervised"})
    assert config == SupervisedConfig()
    assert isinstance(config.build(make_policy(), OptimiserConfig(), ALONE), Supervised)
    assert TypeAdapter(ObjectiveConfig).validate_python({"kind": "import", "target": "mine:Own"}) == IMPORTED


def test_a_fault_of_an_update_names_the_user_s_class():
    with (
        pytest.raises(RunError, match=r"^objective mine:Own failed: ValueError: no such thing; fix the class$"),
        IMPORTED.naming_faults(),
    ):
        raise ValueError("no\nsuch thing")
    with pytest.raises(InputError, match=r"^known$"), IMPORTED.naming_faults():
        raise InputError("known")
    with pytest.raises(ValueError, match=r"^ours$"), SupervisedConfig().naming_faults():
        raise ValueError("ours")


def test_to_read_a_configuration_imports_no_torch():
    code = "import sys, distil.objectives.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
