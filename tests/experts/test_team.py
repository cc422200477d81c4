import numpy as np
import pytest

from distil.config import Config, validate
from distil.envs import GymEnvConfig, describe
from distil.errors import InputError
from distil.experts.config import ExpertConfig
from distil.experts.random import RandomExpertConfig
from distil.experts.scripted import ScriptedExpertConfig
from distil.experts.team import SeveralExpertsConfig, Team
from distil.seeding import Purpose, episode_seeds

ENV = GymEnvConfig(id="CartPole-v1")
MEMBERS = {"a": {"kind": "scripted"}, "b": {"kind": "random"}, "c": {"kind": "random"}}


class Holder(Config):
    expert: ExpertConfig


def several(**keys):
    return validate(Holder, {"expert": {"kind": "several", "members": MEMBERS} | keys}).expert


def team(**keys):
    return several(**keys).team(ENV, describe(ENV))


def test_members_are_built_under_their_names():
    made = team()
    assert list(made.members) == ["a", "b", "c"]
    assert made.members["a"].act({"obs": np.zeros((2, 4), np.float32)}).actions.shape == (2,)
    assert made.members["b"].stateful


def test_one_expert_is_a_team_of_one():
    made = Team.of(ScriptedExpertConfig(), ENV, describe(ENV))
    assert list(made.members) == ["scripted cartpole"]
    assert {made.pick(index, index) for index in range(9)} == {"scripted cartpole"}
    assert list(Team.of(several(), ENV, describe(ENV)).members) == ["a", "b", "c"]


def test_experts_take_turns():
    made = team()
    assert [made.pick(index, 0) for index in range(7)] == list("abcabca")
    assert [made.pick(5, seed) for seed in range(20)] == ["c"] * 20  # whatever the seed


def test_weights_are_shares_of_the_episodes():
    """Within the binomial bound; a member without a weight has weight 1."""
    made, num = team(choose="weight", weights={"b": 6.0}), 4000
    picked = [made.pick(0, seed) for seed in episode_seeds(Purpose.COLLECT, num)]
    for name, share in (("a", 1 / 8), ("b", 6 / 8), ("c", 1 / 8)):
        assert abs(picked.count(name) / num - share) < 4 * np.sqrt(share * (1 - share) / num)
    even = [team(choose="weight").pick(0, seed) for seed in episode_seeds(Purpose.COLLECT, num)]
    assert abs(even.count("a") / num - 1 / 3) < 4 * np.sqrt(2 / 9 / num)


def test_the_drawn_expert_depends_only_on_the_episodes_seed():
    """CORRECTNESS 4 and 5: a retried item has the same expert, whichever worker runs it."""
    made, again = team(choose="weight"), team(choose="weight")
    for seed in episode_seeds(Purpose.COLLECT, 50):
        assert made.pick(0, seed) == again.pick(99, seed)
    assert len({made.pick(0, seed) for seed in episode_seeds(Purpose.COLLECT, 50)}) == 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"members": {}}, r"expert\.members"),
        ({"members": {"a/b": {"kind": "random"}}}, r"expert\.members"),
        ({"members": {"a": {"kind": "scriptd"}}}, "did you mean scripted"),
        ({"members": {"a": {"kind": "scripted", "nam": "x"}}}, r"expert\.members\.a\.nam; did you mean name"),
        ({"member": {}}, "did you mean members"),
        ({"choose": "turns"}, r"expert\.choose"),
        ({"weights": {"a": 2.0}}, "weights require choose=weight: set it, or remove the weights"),
        ({"choose": "weight", "weights": {"d": 2.0}}, "weights of d: the members are a, b, c"),
        ({"choose": "weight", "weights": {"a": 0.0}}, r"expert\.weights\.a: should be greater than 0"),
    ],
)
def test_faults_of_a_team_are_named(keys, words):
    with pytest.raises(InputError, match=words) as error:
        several(**keys)
    assert "\n" not in str(error.value)


def test_a_member_that_does_not_fit_is_bad_input():
    wrong = SeveralExpertsConfig(members={"a": RandomExpertConfig(), "b": ScriptedExpertConfig(name="pendulum")})
    with pytest.raises(InputError, match="scripted pendulum"):
        wrong.team(ENV, describe(ENV))
