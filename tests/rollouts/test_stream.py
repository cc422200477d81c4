import dataclasses

import numpy as np
import pytest
from gatebed import policy

from distil.experts.gates.config import SafeGateConfig
from distil.plans import CollectPlan
from distil.rollouts.stream import episode_uids, is_collected, policy_digest, stream_name

FIXED = {"env": {"kind": "gym", "id": "CartPole-v1"}, "noise": {"kind": "gaussian"}, "seed": 1, "identity": None}


def name(fixed=FIXED, ref=None, **plan):
    return stream_name(CollectPlan(**({"num_episodes": 3} | plan)), ref, fixed)


def test_uids_name_stream_round_and_number_and_are_recognised():
    uids = episode_uids("0123abcd", 3, 2)
    assert uids == ["0123abcd-0003-00000000", "0123abcd-0003-00000001"]
    assert all(is_collected(uid) for uid in [*uids, *episode_uids("0123abcd", 12345, 1)])
    assert not any(is_collected(uid) for uid in ("e0001", "0123abcd-3-0", "x123abcd-0003-00000000", uids[0] + "-a"))


def test_streams_of_earlier_versions_keep_their_names():
    """A resumed run must find the episodes that it collected before."""
    assert name() == "97ea900b"
    assert name(agent="random") == "b9845248"


@pytest.mark.parametrize("key", FIXED)
def test_other_content_is_another_stream(key):
    assert name(FIXED | {key: "other"}) != name()


def test_of_a_policys_episodes_its_behaviour_and_the_mixture_count():
    ref, gate = policy(), SafeGateConfig()
    base = name(ref=ref, agent="policy")
    others = [
        name(ref=policy(seed=1), agent="policy"),
        name(ref=ref, agent="policy", beta=0.5),
        name(ref=ref, agent="policy", beta_unit="step"),
        name(ref=ref, agent="policy", label=True),
        name(ref=ref, agent="policy", act="sample"),
        name(ref=ref, agent="policy", gate=gate),
        name(ref=ref, agent="policy", gate=SafeGateConfig(threshold=0.2)),
    ]
    assert len({base, *others}) == 8
    same = [
        name(ref=policy(version=7), agent="policy"),
        name(ref=ref, agent="policy", round=2),
        name(ref=ref, agent="policy", num_episodes=9),
        name(FIXED | {"noise": None}, ref=ref, agent="policy"),  # the noise is the expert's
    ]
    assert set(same) == {base}


def test_a_policys_digest_is_of_all_its_arrays():
    ref = policy()
    for key, values in ref.arrays.items():
        changed = dataclasses.replace(ref, arrays={**ref.arrays, key: np.asarray(values) + 1})
        assert policy_digest(changed) != policy_digest(ref), key
