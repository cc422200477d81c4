import numpy as np
import pytest
from gatebed import BOX, CHOICE, VECTOR, episode, partly_labelled, policy, snapshot, windows_of

from distil.experts.gates import evidence
from distil.experts.gates.evidence import Evidence, predicted
from distil.policies.acting import acting, replay

pytestmark = pytest.mark.usefixtures("few")


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(("horizon", "chunk"), [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("action", [BOX, CHOICE], ids=["box", "choice"])
def test_replay_says_what_the_policy_would_do_at_each_visited_state(tmp_path, members, horizon, chunk, action):
    """Where it plans anew at every step: as it acted then, with the history that it had, and with its doubt."""
    ref = policy(action=action, obs_horizon=horizon, chunk=chunk, execute=1, ensemble=members)
    queueing = policy(action=action, obs_horizon=horizon, chunk=chunk, ensemble=members)  # the same weights
    data = snapshot(tmp_path / "s", episode(0, 300, action=action), episode(1, 5, action=action), action=action)
    windows = windows_of(data, horizon)
    actions, doubt = replay(queueing, windows)
    if members > 1:
        np.testing.assert_allclose(doubt, replay(ref, windows)[1], atol=1e-6)
    else:
        assert doubt is None
    done, found, doubted = 0, acting(ref, 1), []
    for number in (0, 1):
        whole = data.episode(number)
        found.begin(0, number)
        for step in range(whole.length):
            here = found.act({"obs": whole.observations["obs"][step][None]})[0]
            np.testing.assert_allclose(actions[done], here, atol=1e-5)
            doubted.append(0.0 if found.doubt is None else found.doubt[0])
            done += 1
    assert done == len(actions) == 305
    if members > 1:
        np.testing.assert_allclose(doubt, doubted, atol=1e-6)
        assert (doubt > 0).any()


def test_labelled_steps_and_the_policys_discrepancy_there(tmp_path):
    """All labelled steps, no matter who acted, and no other."""
    ref = policy()
    data, steps, distances = partly_labelled(tmp_path, ref)
    observations, apart = Evidence(policy=ref, data=data, seed=3).labelled()
    assert observations["obs"][:, 0].tolist() == steps
    np.testing.assert_allclose(apart, distances, atol=1e-5)


def test_visited_are_the_states_of_policies_or_of_demonstrations_if_there_are_none(tmp_path):
    demonstrations = [episode(number, 9, by_policy=False) for number in (0, 1)]
    own = [episode(number, 7, labelled=[0] * 7) for number in (2, 3)]
    ref = policy(ensemble=2)
    for name, episodes, expected in (
        ("a", demonstrations, [*range(9), *range(100, 109)]),
        ("b", demonstrations + own, [*range(200, 207), *range(300, 307)]),
    ):
        data = snapshot(tmp_path / name, *episodes)
        visited = Evidence(policy=ref, data=data, seed=1).visited()
        assert visited.observations["obs"][:, 0].tolist() == expected
        assert visited.doubt is not None
        assert len(visited.doubt) == visited.episodes.length.sum() == len(expected)
    assert Evidence(policy=policy(), data=data, seed=1).visited().doubt is None


def test_episodes_beyond_the_limit_are_left_out_by_seed(tmp_path, monkeypatch):
    """Complete episodes count; with large observations, fewer."""
    data, ref = snapshot(tmp_path / "s", *(episode(number, 10) for number in range(30))), policy()

    def rows(seed):
        return Evidence(policy=ref, data=data, seed=seed).labelled()[0]["obs"][:, 0].tolist()

    monkeypatch.setattr(evidence, "MAX_ROWS", 95)
    one, same, other = rows(1), rows(1), rows(2)
    assert len(one) == 100
    assert one == same == sorted(one)
    assert set(one) != set(other)
    monkeypatch.setattr(evidence, "MAX_ROWS", 10**6)
    monkeypatch.setattr(evidence, "_BLOCK", 1)
    monkeypatch.setattr(evidence, "_MAX_BYTES", 45 * VECTOR.sample().nbytes)
    assert len(rows(1)) == 50


def test_predictors_of_one_gate_have_seeds_of_their_own(tmp_path):
    """CORRECTNESS 14: equal names give equal predictors."""
    data = snapshot(tmp_path / "s", episode(0, 30))
    facts = Evidence(policy=policy(), data=data, seed=1)
    seen, _ = facts.labelled()
    first, same, other = (facts.predictor(seen, np.arange(30) / 30, 1.0, name) for name in ("risk", "risk", ""))
    assert predicted(first, seen).tolist() == predicted(same, seen).tolist()
    assert predicted(first, seen).tolist() != predicted(other, seen).tolist()
