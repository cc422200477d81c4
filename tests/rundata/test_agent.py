import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rundatabed import config, untrained

from distil.errors import InputError, RunError
from distil.plans import CollectPlan, StreamPlan
from distil.policies.spec import PolicyRef
from distil.rundata import agent as module
from distil.rundata.agent import AgentEpisodes
from distil.rundir import RunDir
from distil.session import Session
from distil.store import Store, StoreSpec
from distil.store.history import drop

AGENT = StreamPlan(source="agent")


class Bed:
    """Rounds of two episodes by policies that differ from round to round."""

    def __init__(self, session: Session, settings: Any, folder: Path) -> None:
        self.rundir = RunDir.create(folder, "a", "")
        self.session, self.settings = session, settings

    def open(self) -> AgentEpisodes:
        """As a process does that begins, or continues, the run."""
        spaces = self.session.spec
        spec = StoreSpec(observation=spaces.observation, action=spaces.action, infos=(), env={"id": "CartPole-v1"})
        collector = lambda store: self.session.collector(self.settings, store)  # noqa: E731
        return AgentEpisodes(RunDir(self.rundir.path), spec, collector, self.session.progress)

    def policy(self, number: int) -> PolicyRef:
        return untrained(self.session, self.settings, version=number, seed=number)

    def play(self, agent: AgentEpisodes, number: int, **plan: Any) -> None:
        wanted = {"num_episodes": 2, "round": number, "agent": "policy", "into": "agent", "keep_rounds": 2, **plan}
        agent.collect(CollectPlan(**wanted), self.policy(number))

    @property
    def store(self) -> Store:
        return Store.open(self.rundir.agent)


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    settings = config(tmp_path, data={"path": str(tmp_path / "demos")})
    with Session(settings) as session:
        yield Bed(session, settings, tmp_path)


def rounds(agent: AgentEpisodes, num_rounds: int | None = None) -> list[int]:
    (part,) = agent.training(replace(AGENT, num_rounds=num_rounds), 0).parts
    assert len(part.columns(["action"])["action"]) == part.num_transitions + part.num_episodes  # the shards are there
    return sorted(part.episodes.round.tolist())


def test_the_last_rounds_are_read_and_the_others_leave_the_disk(bed: Bed) -> None:
    agent, steps, sizes = bed.open(), 0, []
    for number in range(1, 7):
        bed.play(agent, number)
        (newest,) = agent.training(replace(AGENT, num_rounds=1), number).parts
        steps += newest.num_transitions
        sizes.append((len(list((bed.rundir.agent / "data").iterdir())), len(bed.store.versions())))
    assert rounds(agent) == rounds(agent, 2) == [5, 5, 6, 6]
    assert rounds(agent, 1) == [6, 6]
    assert bed.store.snapshot().num_episodes == 4
    assert len({sizes[2], *sizes[2:]}) == 1, "the folder grows"
    spent = agent.spent()  # what was removed has been played all the same
    assert (spent.agent_episodes, spent.agent_steps, spent.env_steps) == (12, steps, steps)
    assert (spent.demonstrations, spent.expert_labels, spent.expert_queries) == (0, 0, 0)


def test_all_rounds_are_kept_unless_the_plan_says_otherwise(bed: Bed) -> None:
    agent = bed.open()
    for number in (1, 2, 4):
        bed.play(agent, number, keep_rounds=None)
    assert rounds(agent) == rounds(agent, 9) == [1, 1, 2, 2, 4, 4]
    bed.play(agent, 5, keep_rounds=1)
    assert rounds(agent) == [5, 5]
    bed.play(agent, 6, keep_rounds=None)
    assert rounds(agent, 2) == [5, 5, 6, 6]
    with pytest.raises(RunError, match=r"last 3 rounds, and those before round 5 are removed: raise CollectPlan\.keep_rounds"):
        agent.training(replace(AGENT, num_rounds=3), 6)


def test_rounds_that_the_newest_steps_do_not_need_are_removed(bed: Bed) -> None:
    """With `keep_steps`: there are always so many, once they are collected, and the oldest round is needed for that."""
    agent, steps = bed.open(), dict[int, int]()
    for number in range(1, 9):
        bed.play(agent, number, keep_rounds=None, num_episodes=1, min_steps=40, keep_steps=100)
        (newest,) = agent.training(replace(AGENT, num_rounds=1), number).parts
        steps[number] = newest.num_transitions
        assert steps[number] >= 40
        assert agent.mean_length(number) == newest.num_transitions / newest.num_episodes
        kept = sorted(set(rounds(agent)))
        assert kept == list(range(kept[0], number + 1))
        assert kept[0] == 1 or sum(steps[k] for k in kept) >= 100
        before = sum(steps[k] for k in kept[1:-1])
        assert before + 40 < 100 or kept[0] == number
    assert kept[0] > 1
    assert bed.store.snapshot().num_transitions == sum(steps[k] for k in kept)
    assert agent.spent().agent_steps == sum(steps.values())
    assert agent.mean_length(99) is None


def test_labels_of_the_agents_episodes_are_paid_for(bed: Bed) -> None:
    agent = bed.open()
    bed.play(agent, 1, label=True)
    spent = agent.spent()
    assert spent.expert_labels == spent.expert_queries == spent.agent_steps > 0


def test_to_read_before_anything_is_played_is_bad_input(bed: Bed) -> None:
    with pytest.raises(InputError, match=r'round 3 trains on the agent.s episodes before any .* CollectPlan\(into="agent"\)'):
        bed.open().training(AGENT, 3)
    bed.open().release()  # nothing is there to release
    assert not bed.rundir.agent.exists()


def test_what_an_unfinished_run_reads_can_not_be_dropped(bed: Bed) -> None:
    agent = bed.open()
    bed.play(agent, 1)
    (version,) = bed.store.versions()
    (shard,) = bed.store.manifest().entries
    bed.store.publish(bed.store.manifest().listing([shard], "another one"))
    with pytest.raises(InputError, match="needed by the unfinished run"):
        drop(bed.store, [version])
    agent.release()
    drop(bed.store, [version])


class Killed(BaseException):
    """Stands for a SIGKILL."""


POINTS = [
    *((RunDir, "append", after) for after in (False, True)),
    *((Store, "open_or_create", after) for after in (False, True)),
    *((Store, "unpin", after) for after in (False, True)),
    *((Store, "publish", after) for after in (False, True)),
    *((Store, "commit", after) for after in (False, True)),
    *((Store, "pin", after) for after in (False, True)),
    (module, "forget_episodes", True),
    ("distil.store.forget", "drop", True),
]


KEEP = {
    "rounds": {"keep_rounds": 2},
    "steps": {"keep_rounds": None, "num_episodes": 1, "min_steps": 30, "keep_steps": 60},
}


@pytest.mark.parametrize("keep", KEEP.values(), ids=KEEP)
@pytest.mark.parametrize(("owner", "name", "after"), POINTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_killed_anywhere_and_resumed_equals_undisturbed(
    bed: Bed, tmp_path: Path, owner: Any, name: str, after: bool, keep: dict[str, Any]
) -> None:
    """CORRECTNESS 14: in the round that removes the first one, and in none twice."""
    target = f"{owner}.{name}" if isinstance(owner, str) else (owner, name)
    for number in (1, 2):
        bed.play(bed.open(), number, **keep)
    with pytest.MonkeyPatch.context() as patch:
        die(patch, target, after)
        with pytest.raises(Killed):
            bed.play(bed.open(), 3, **keep)
    resumed = bed.open()
    bed.play(resumed, 3, **keep)
    calm = Bed(bed.session, bed.settings, tmp_path)
    for number in (1, 2, 3):
        bed_agent = calm.open()
        calm.play(bed_agent, number, **keep)
    assert rounds(resumed) == rounds(bed_agent)
    assert set(rounds(resumed)) == {2, 3}
    assert resumed.training(AGENT, 3).digest == bed_agent.training(AGENT, 3).digest
    assert resumed.spent() == bed_agent.spent()
    assert [line["round"] for line in RunDir(bed.rundir.path).journal("agent")] == [1, 2, 3]
    assert len(bed.store.versions()) <= len(calm.store.versions())  # the resumed round has removed one more
    assert count_shards(bed) == count_shards(calm)


def count_shards(bed: Bed) -> int:
    return len(list((bed.rundir.agent / "data").glob("*.arrow")))


def die(patch: pytest.MonkeyPatch, target: Any, after: bool) -> None:
    """Let the process die before or after the first call."""
    if isinstance(target, str):
        import importlib

        module_name, _, attribute = target.rpartition(".")
        target = (importlib.import_module(module_name), attribute)
    owner, attribute = target
    calls, original = itertools.count(), getattr(owner, attribute)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) or after:
            original(*args, **kwargs)
        raise Killed

    patch.setattr(owner, attribute, staticmethod(dying) if attribute == "open_or_create" else dying)
