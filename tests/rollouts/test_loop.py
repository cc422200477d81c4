import itertools
import json

import numpy as np
import pytest
from testbed import CountingExpert, Odd

from distil.envs import ImportEnvConfig, describe, slots
from distil.errors import InputError, RunError
from distil.experts.imported import ImportExpertConfig
from distil.rollouts import loop
from distil.rollouts.agents import Acted, ExpertAgent, RandomAgent
from distil.rollouts.loop import EpisodeItem, EpisodeLoop, Record

ODD = ImportEnvConfig(target="testbed:Odd")


def items(seeds):
    return [EpisodeItem(index=i, uid=f"u{i}", seed=seed) for i, seed in enumerate(seeds)]


def ended(loop, stop=lambda: False):
    """Yield what there is to take at each stop of the loop, and after its end or error."""
    try:
        for _ in loop.steps(stop):
            yield loop.take()
    finally:
        yield loop.take()


def run(seeds, *, num=3, agent=None, record=Record(), target="Toy", vectorised=False, stop=lambda: False, limit=None, **kwargs):  # noqa: B008
    config = ImportEnvConfig(
        target=f"testbed:{target}", kwargs=kwargs, vectorised=vectorised, **({"max_episode_steps": limit} if limit else {})
    )
    places = slots(config, num)
    made = EpisodeLoop(places, agent or ExpertAgent(CountingExpert()), items(seeds), spec=describe(config), record=record)
    found = sorted(itertools.chain.from_iterable(ended(made, stop)), key=lambda finished: finished.item.index)
    places.close()
    return found


def check(finished, length):
    """The observations of `Toy` tell seed, step and the action before."""
    episode, seed = finished.episode, finished.item.seed
    np.testing.assert_array_equal(episode.observations["obs"][:, 0], np.full(length + 1, seed))
    np.testing.assert_array_equal(episode.observations["obs"][:, 1], np.arange(length + 1))
    np.testing.assert_array_equal(episode.observations["obs"][1:, 2], episode.actions)
    np.testing.assert_array_equal(episode.actions, 1 + np.arange(length) % 3)
    np.testing.assert_array_equal(episode.expert_actions, episode.actions)
    assert (episode.seed, episode.uid, episode.length) == (seed, finished.item.uid, length)
    assert (finished.length, finished.total_reward) == (length, length)


VECTORS = [
    {"target": target, "vectorised": True, "mode": mode}
    for target, mode in [
        *itertools.product(["vector"], ["NextStep", "SameStep", "Disabled"]),
        ("PlainVector", "NextStep"),
        ("PlainVector", "SameStep"),
    ]
]


@pytest.mark.parametrize("kind", [{}, *VECTORS], ids=str)
def test_final_observation_is_kept(kind):
    """CORRECTNESS 2: in plain environments and under both of Gymnasium's autoreset modes."""
    lengths = [2, 70, 1, 5, 130]
    done = run(list(range(11)), lengths=lengths, **kind)
    assert len(done) == 11
    for finished in done:
        check(finished, lengths[finished.item.seed % 5])


@pytest.mark.parametrize("kind", [{}, *VECTORS], ids=str)
@pytest.mark.parametrize("num_items", [1, 5, 9])
def test_fewer_episodes_than_environments(num_items, kind):
    """The surplus environments leave no trace: an episode is the one of its seed."""
    done = run(list(range(num_items)), num=8, lengths=[2, 7, 4], **kind)
    assert [finished.item.seed for finished in done] == list(range(num_items))
    for finished in done:
        check(finished, [2, 7, 4][finished.item.seed % 3])


@pytest.mark.parametrize("kind", [{}, *VECTORS], ids=str)
@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_terminated_is_not_truncated(end, kind):
    """CORRECTNESS 1."""
    for finished in run([0, 1, 2, 3], lengths=[3, 2], end=end, **kind):
        for thing in (finished, finished.episode):
            assert (thing.terminated, thing.truncated) == (end == "terminated", end == "truncated")


def test_a_time_limit_truncates():
    """CORRECTNESS 1."""
    (finished,) = run([0], lengths=[99], limit=4)
    assert (finished.length, finished.episode.terminated, finished.episode.truncated) == (4, False, True)


def test_short_episodes_are_not_favoured():
    """CORRECTNESS 3: half of the seeds give episodes of 1 step, half of 60; the mean must be the true one."""
    seeds = np.random.default_rng(0).permutation(40).tolist()
    done = run(seeds, num=8, lengths=[1, 60], record=None)
    assert np.mean([finished.length for finished in done]) == 30.5
    assert sorted(finished.item.seed for finished in done) == sorted(seeds)


def test_an_item_has_its_slot_whoever_runs_it():
    """CORRECTNESS 5."""
    for part in (items(range(10)), items(range(10))[7:], items(range(10))[4:6]):
        expert = CountingExpert()
        config = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [3, 9, 1]})
        list(EpisodeLoop(slots(config, 4), ExpertAgent(expert), part, spec=describe(config)).steps())
        assert sorted(expert.begun) == sorted((item.index % 4, item.seed) for item in part)


def test_random_episodes_do_not_depend_on_the_number_of_slots():
    """CORRECTNESS 5: the stream is the episode's own."""
    action = describe(ImportEnvConfig(target="testbed:Toy")).action.leaf
    few, many = (run(range(9), num=num, agent=RandomAgent(action), lengths=[7, 20]) for num in (2, 9))
    for one, other in zip(few, many, strict=True):
        np.testing.assert_array_equal(one.episode.actions, other.episode.actions)


def test_without_recording_there_are_only_figures():
    (finished,) = run([0], record=None)
    assert finished.episode is None
    assert finished.total_reward == 5


@pytest.mark.parametrize("kind", [{}, *VECTORS], ids=str)
@pytest.mark.parametrize(("key", "succeeds"), [("is_success", False), ("success", True)])
def test_which_step_tells_success_depends_on_the_key(key, succeeds, kind):
    """CORRECTNESS 37: the last one of `is_success`, any one of `success`; NaN is none."""
    assert [finished.success for finished in run([0, 1], success=key, lengths=[5, 3], **kind)] == [succeeds] * 2
    assert [finished.episode.success for finished in run([0, 1], success=key, lengths=[2, 1], **kind)] == [True, False]


def test_success_at_any_step_counts_and_absence_is_none():
    assert [finished.success for finished in run([4, 5], success=True)] == [True, False]
    assert run([4])[0].success is None


@pytest.mark.parametrize("kind", [{}, VECTORS[1]], ids=str)
def test_named_infos_are_kept_as_json(kind):
    (finished,) = run([4], num=1, lengths=[3], success=True, record=Record(infos=("count", "absent")), **kind)
    assert [json.loads(text) for text in finished.episode.infos] == [{"count": 1}, {"count": 2}, {"count": 3}]
    (finished,) = run([4], num=1, lengths=[2], record=Record(infos=("count",)), **kind)
    assert finished.episode.infos == ("{}", "{}")


def test_what_cannot_be_json_is_kept_as_text():
    assert loop._plain(np.arange(2)) == [0, 1]
    assert loop._plain(1 + 2j) == "(1+2j)"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", "environment testbed:Toy raised ValueError: the wheel fell off (in step at seed 4 step 2)"),
        ("nan", "environment testbed:Toy returned NaN in obs at seed 4 step 2"),
        ("inf", "environment testbed:Toy returned an infinite number in obs at seed 4 step 2"),
        ("nan_reward", "environment testbed:Toy returned NaN in reward at seed 4 step 2"),
        ("shape", "returned shape (2,) in obs, but its space has (3,) (in step at seed 4 step 2)"),
    ],
)
def test_a_failing_environment_is_named_with_seed_and_step(fault, words):
    """CORRECTNESS 4: it ends the run, it isn't scored 0."""
    with pytest.raises(RunError) as error:
        run(range(8), fault=fault, bad_seed=4, bad_step=2)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_large_numbers_are_finite():
    """Their squares aren't."""
    assert loop._is_finite(np.full((3, 2), 1e30, np.float32))
    assert not loop._is_finite(np.array([[1e30, np.nan], [0, 0]], np.float32))
    assert not loop._is_finite(np.array([1, -np.inf]))


def test_recorded_episodes_come_some_at_once():
    """A group is written and reported together, which short episodes need; without recording there is nothing to gain."""
    config = ImportEnvConfig(target="testbed:Toy", kwargs={"lengths": [1, 3]})
    for record, sizes in ((Record(), {100}), (None, {1, 2})):
        agent = RandomAgent(describe(config).action.leaf)
        made = EpisodeLoop(slots(config, 2), agent, items(range(100)), spec=describe(config), record=record)
        assert max(map(len, ended(made))) in (range(30, 101) if record else sizes)


def test_a_failing_vector_environment_names_the_candidates():
    with pytest.raises(RunError, match="at one of seed 0 step 2, seed 1 step 2"):
        run(range(2), num=2, target="vector", vectorised=True, fault="raise", bad_seed=1, bad_step=2)


def test_a_failing_reset_is_named():
    class Broken:
        num_slots, resets_together, envs = 1, False, None

        def reset(self, slots, seeds):
            raise loop.SlotError(0, "raised OSError: no display")

        def prepare(self, seeds):
            pass

    config = ImportEnvConfig(target="testbed:Toy")
    with pytest.raises(RunError, match=r"no display \(in reset at seed 3 step 0"):
        list(EpisodeLoop(Broken(), ExpertAgent(CountingExpert()), items([3]), spec=describe(config)).steps())


def test_a_failing_expert_is_named_with_seeds_and_steps():
    where = r"\(environment testbed:Toy, at one of seed 0 step 3, seed 1 step 3\)"
    with pytest.raises(RunError, match=rf"expert counting: raised KeyError: 'lost'; fix the expert {where}"):
        run(range(2), agent=ExpertAgent(CountingExpert("raise", 3)))
    with pytest.raises(RunError, match="no action at seed 0 step 3: an acting expert must return an action at every step"):
        run(range(2), agent=ExpertAgent(CountingExpert("silent", 3)))


class Unfit(ExpertAgent):
    def act(self, observations, envs, active=None):
        raise InputError("set this to that")


def test_bad_input_that_shows_while_acting_stays_bad_input():
    with pytest.raises(InputError, match=r"^set this to that$"):
        run([1], agent=Unfit(CountingExpert()))


class Wrong:
    def __init__(self, actions, row=None):
        self.actions, self.row = actions, row

    def begin(self, slot, seed):
        pass

    def act(self, observations, envs, active=None):
        if self.row is not None:
            error = RunError("expert x: bad answer")
            error.row = self.row
            raise error
        return Acted(actions=self.actions, acted_by_expert=np.ones(3, np.bool_))


def test_an_agent_that_knows_the_row_names_one_seed():
    with pytest.raises(RunError, match=r"^expert x: bad answer \(environment testbed:Toy, at seed 1 step 0\)$"):
        run(range(3), agent=Wrong(None, row=1))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.zeros(2, np.int64), r"shape \(2,\), expected \(3,\)"),
        (np.array([1.0, np.nan, 1.0]), "NaN in its action at seed 1 step 0"),
    ],
)
def test_wrong_actions_are_named(actions, words):
    with pytest.raises(RunError, match=words):
        run(range(3), agent=Wrong(actions))


def test_stop_drops_what_is_under_way():
    calls = itertools.count()
    done = run(range(6), lengths=[3, 100], stop=lambda: next(calls) >= 10)
    assert {finished.length for finished in done} == {3}


def test_endless_episodes_are_found(monkeypatch):
    monkeypatch.setattr(loop, "ENDLESS", 50)
    with pytest.raises(RunError, match=r"has not ended its episode at seed 0 step 50: .* set env.max_episode_steps"):
        run([0], num=1, lengths=[10**9])


def test_an_info_that_is_not_json_is_named(monkeypatch):
    monkeypatch.setattr(Odd, "changes", {"info": {"map": {(1, 2): 3}}})
    with pytest.raises(
        RunError, match=r"testbed:Odd at seed 4 step 2: info map can.t be written as JSON: keys must be .*rollouts\.infos"
    ):
        run([4], agent=RandomAgent(describe(ODD).action.leaf), target="Odd", record=Record(infos=("map",)))


@pytest.mark.parametrize("kind", [{}, {"target": "vector", "vectorised": True, "env": "InPlace"}], ids=str)
def test_agents_that_change_their_arguments_do_not_change_stored_data(kind):
    """CORRECTNESS 12: neither the environment its action, nor the expert the observations."""
    spec = describe(ImportEnvConfig(target="testbed:InPlace"))
    expert = ImportExpertConfig(target="testbed:in_place").build(ImportEnvConfig(target="testbed:InPlace"), spec)
    for finished in run([0, 1, 2], agent=ExpertAgent(expert), **({"target": "InPlace"} | kind)):
        episode = finished.episode
        assert episode.actions[:, 0].tolist() == episode.expert_actions[:, 0].tolist() == [0.5, 0.75, 0.875]
        assert episode.observations["obs"][:, 0].tolist() == [0, 0.5, 0.75, 0.875]
