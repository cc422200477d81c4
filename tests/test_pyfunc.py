from pathlib import Path

import numpy as np
import pytest
from rundatabed import own, train

from distil.api import open_run
from distil.errors import InputError
from distil.pyfunc import _load_pyfunc


def test_it_predicts_what_the_run_does(tmp_path: Path) -> None:
    rundir = train(own(tmp_path))
    policy, predictor = _load_pyfunc(str(rundir.policy)), open_run(rundir.path).policy()
    leaf = predictor.observation.leaf
    observations = np.random.default_rng(0).normal(size=(5, *leaf.shape)).astype(leaf.dtype)
    expected = predictor.predict(observations)
    assert np.array_equal(policy.predict(observations), expected)
    assert np.array_equal(policy.predict({leaf.name: observations.tolist()}, {}), expected)
    assert np.array_equal(policy.predict(observations), expected)  # no memory of the calls before
    with pytest.raises(InputError, match=f"the policy also observes {leaf.name}"):
        policy.predict({"other": observations})
    with pytest.raises(InputError, match="the policy takes"):
        policy.predict(observations[:, :-1])
