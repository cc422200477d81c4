import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from testbed import Balancer

from distil.config import validate
from distil.console import Console
from distil.envs import GymEnvConfig, describe
from distil.errors import InputError, RunError
from distil.plans import CheckPlan, CollectPlan
from distil.policies.checkpoint import save_policy
from distil.policies.config import PolicyConfig
from distil.policies.policy import Policy
from distil.rollouts import Collector
from distil.runconfig import RunConfig
from distil.seeding import Purpose, episode_seeds
from distil.session import Session

BASE = {"env": {"id": "CartPole-v1", "max_episode_steps": 60}, "rollouts": {"num_workers": 0, "num_envs": 4}}
EXPERT = {"kind": "import", "target": "testbed:Balancer", "kwargs": {"num_envs": 4}}


def session(**changes):
    return Session(validate(RunConfig, BASE | {"expert": EXPERT} | changes))


def test_an_expert_is_measured_beside_chance():
    """CORRECTNESS 15."""
    with session() as shared:
        figures = shared.check_experts(CheckPlan(num_episodes=3, min_return=60.0))
        assert figures["expert/check_return_mean"] == 60.0
        assert figures["expert/check_random_return_mean"] == shared.score("random", 3, Purpose.TUNE).mean < 60
        with pytest.raises(RunError, match=r"testbed:Balancer: .* is 60, below algorithm\.min_expert_return=60\.5: lower it"):
            shared.check_experts(CheckPlan(num_episodes=3, min_return=60.5))


def test_an_expert_no_better_than_chance_is_refused():
    """CORRECTNESS 15."""
    with session(expert={"kind": "random"}) as shared, pytest.raises(RunError, match="no better than a random policy's"):
        shared.check_experts(CheckPlan(num_episodes=3))


def test_tuning_episodes_are_not_the_held_out_ones():
    with session() as shared:
        tune, held_out = (shared.score("random", 4, purpose) for purpose in (Purpose.TUNE, Purpose.EVALUATE))
        assert not set(tune.seeds) & set(held_out.seeds)
        assert shared.score("random", 4) is held_out  # measured once


def test_what_the_algorithm_cannot_do_is_refused_at_once():
    with pytest.raises(InputError, match=r"set expert\.kind"):
        session(expert=None, algorithm={"kind": "dagger"})


@pytest.mark.ray
def test_ray_for_learners_is_said_before_it_starts(ray_session: ModuleType) -> None:
    told = io.StringIO()
    config = validate(RunConfig, BASE | {"learner": {"num_learners": 1}})
    with Session(config, Console(told)):
        assert told.getvalue() == "starting Ray\n"


SCRIPTED = {"expert": {"kind": "scripted"}}


def config(**keys: Any) -> RunConfig:
    return validate(RunConfig, BASE | keys)


def test_scores_are_measured_once_on_the_episodes_of_their_purpose() -> None:
    told: list[tuple[str, int]] = []
    with Session(config(**SCRIPTED), lambda what, done, total, /, **_: told.append((what, done))) as session:
        expert = session.score("expert", 3)
        num_told = len(told)
        assert ("evaluate expert", 3) in told
        assert session.score("expert", 3) is expert
        assert len(told) == num_told
        assert list(expert.seeds) == episode_seeds(Purpose.EVALUATE, 3)
        tuning = session.score("expert", 3, Purpose.TUNE)
        assert not set(tuning.seeds) & set(expert.seeds)


def test_sessions_share_scores_and_a_kept_one_costs_no_question() -> None:
    """CORRECTNESS 16."""
    found = []
    for _ in range(2):
        with Session(config(**SCRIPTED)) as session:
            scores = [session.score(who, 3, purpose) for who in ("expert", "random") for purpose in Purpose if purpose]  # type: ignore[arg-type]
            found.append(([score.to_json() for score in scores], session.num_queries))
    assert found[0][0] == found[1][0]
    assert [num for _, num in found] == [2 * 3 * 60, 0]
    assert len(list(Path("runs/baselines").glob("*.json"))) == 4


def test_another_process_is_given_the_scores() -> None:
    """One measures and ends; this one asks nothing."""
    code = (
        "from distil.config import validate; from distil.runconfig import RunConfig; from distil.session import Session\n"
        f"with Session(validate(RunConfig, {BASE | SCRIPTED!r})) as session: print(session.score('expert', 3).mean)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert float(ended.stdout) == 60
    with Session(config(**SCRIPTED)) as session:
        assert session.score("expert", 3).mean == 60
        assert session.num_queries == 0


def test_other_episodes_experts_and_environments_are_measured_themselves(tmp_path: Path) -> None:
    expert = {"expert": {"kind": "policy", "path": str(tmp_path / "expert")}}
    changes: list[dict[str, Any]] = [{}, {"rollouts": {"num_workers": 0, "num_envs": 2}}, {"env": {"id": "CartPole-v1"}}, {}]
    for shift, change in zip((0, 0, 0, 1), changes, strict=True):
        write_policy(tmp_path / "expert", shift)
        with Session(config(**expert | change)) as session:
            session.score("expert", 2)
            assert session.num_queries > 0, change
            session.score("expert", 3)
            asked = session.num_queries
        with Session(config(**expert | change)) as session:
            session.score("expert", 3)
            assert session.num_queries == 0 < asked


def test_the_scores_of_an_expert_that_is_not_known_by_its_content_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed into an interpreter, it may be another one in the next process."""
    module = ModuleType("typed_in")
    module.Typed = type("Typed", (Balancer,), {"__module__": "typed_in"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "typed_in", module)
    for _ in range(2):
        with Session(config(expert={"kind": "import", "target": "typed_in:Typed", "kwargs": {"num_envs": 4}})) as session:
            assert session.score("expert", 2) is session.score("expert", 2)
            assert session.num_queries == 2 * 60
            session.score("random", 2)
    assert len(list(Path("runs/baselines").glob("*.json"))) == 1


def test_a_run_of_another_expert_cannot_share_the_session() -> None:
    with Session(config(**SCRIPTED)) as session:
        session.check(config(**SCRIPTED, seed=5))
        with pytest.raises(InputError, match="made for another expert than the run's"):
            session.check(config(expert={"kind": "random"}))
        with pytest.raises(InputError, match="discrete"):
            session.check(config(**SCRIPTED, policy={"head": {"kind": "gaussian"}}))


def test_baselines_are_the_means_of_random_and_expert() -> None:
    with Session(config(**SCRIPTED)) as session:
        baselines = session.baselines(4)
        assert baselines is not None
        assert baselines.expert == session.score("expert", 4).mean == 60
        assert baselines.random == session.score("random", 4).mean < 60


def test_without_an_expert_there_are_no_baselines() -> None:
    with Session(config()) as session:
        assert session.baselines(4) is None
        assert session.evaluate("random", 2).lengths.min() > 0


def test_an_expert_worse_than_chance_is_refused_even_above_the_reference() -> None:
    backwards = {"kind": "import", "target": "testbed:Balancer", "kwargs": {"backwards": True, "num_envs": 4}}
    with (
        Session(config(expert=backwards)) as session,
        pytest.raises(RunError, match=r"Balancer.*no better than a random policy's"),
    ):
        session.check_experts(CheckPlan(num_episodes=8, min_return=1.0))


def test_a_policy_of_other_spaces_is_refused() -> None:
    with Session(config()) as session, Session(config(env={"id": "Pendulum-v1"})) as other:
        policy = Policy(PolicyConfig(), other.spec.observation, other.spec.action).ref(0)
        with pytest.raises(InputError, match=r"CartPole-v1"):
            session.evaluate("policy", 2, policy)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"expert": {"kind": "scripted", "name": "pendulum"}}, "pendulum"),
        ({"policy": {"head": {"kind": "gaussian"}}}, "discrete"),
        ({"learner": {"augment": [{"kind": "shift"}]}}, "shift is for images"),
        (SCRIPTED | {"algorithm": {"kind": "dagger", "stop": {"env_steps": 59}}}, "below one episode, which may take 60"),
    ],
    ids=["expert", "policy", "augmentation", "budget"],
)
def test_what_does_not_fit_is_refused_at_once(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        Session(config(**keys))


def test_a_store_is_made_where_there_is_an_expert_to_fill_it(tmp_path: Path) -> None:
    data = {"data": {"path": str(tmp_path / "demos"), "episodes": 2}}
    lonely, taught = config(**data), config(**data, **SCRIPTED)
    with Session(lonely) as session, pytest.raises(InputError, match="no expert to fill it"):
        session.store(lonely)
    assert not (tmp_path / "demos").exists()
    with Session(taught) as session:
        store = session.store(taught)
        session.collector(taught, store).collect(CollectPlan(num_episodes=2))
        assert store.spec.env["id"] == "CartPole-v1"
        again = session.collector(taught, store).collect(CollectPlan(num_episodes=2))
        assert (again.num_episodes, store.snapshot().num_episodes) == (0, 2)
    with Session(lonely) as session:  # now there is something to learn from
        assert session.store(lonely).uuid == store.uuid


def test_another_seed_or_noise_is_another_stream_of_the_same_store(tmp_path: Path) -> None:
    data = {"path": str(tmp_path / "demos"), "episodes": 2}
    noisy = data | {"noise": {"kind": "epsilon", "level": 0.5}}
    with Session(config(data=data, **SCRIPTED)) as session:
        for one in (config(data=data, **SCRIPTED), config(data=data, seed=1, **SCRIPTED), config(data=noisy, **SCRIPTED)):
            assert session.collector(one, session.store(one)).collect(CollectPlan(num_episodes=2)).num_episodes == 2
        episodes = session.store(one).snapshot().episodes
        assert len(np.unique([uid.split("-")[0] for uid in episodes.uid])) == 3


def several(**members: Any) -> dict[str, Any]:
    return {"expert": {"kind": "several", "members": members}}


BACKWARDS = EXPERT | {"kwargs": {"backwards": True, "num_envs": 4}}


def test_each_of_several_experts_is_measured_and_the_best_is_the_reference() -> None:
    """CORRECTNESS 15."""
    told: list[str] = []
    with Session(config(**several(good=EXPERT, bad=BACKWARDS)), lambda what, done, total, /, **_: told.append(what)) as session:
        scores = session.scores(3)
        assert list(scores) == ["good", "bad"]
        assert scores["good"].mean == 60 > scores["bad"].mean
        assert scores["good"].seeds == scores["bad"].seeds
        assert {"evaluate good", "evaluate bad"} <= set(told)
        num_told = len(told)
        assert session.score("expert", 3, expert="bad") is session.scores(3)["bad"]
        assert len(told) == num_told
        baselines = session.baselines(3)
        assert baselines is not None
        assert baselines.expert == 60


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
def test_the_broken_one_of_several_experts_is_named(order: tuple[str, str]) -> None:
    """CORRECTNESS 15."""
    members = {"good": EXPERT, "bad": BACKWARDS}
    faults = {"good": "below algorithm.min_expert_return=61", "bad": "no better than a random policy's"}
    with Session(config(**several(**{name: members[name] for name in order}))) as session:
        with pytest.raises(RunError, match=r"expert bad: its mean return over 3 episodes .* no better than a random policy's"):
            session.check_experts(CheckPlan(num_episodes=3))
        with pytest.raises(RunError, match=f"expert {order[0]}: .*{faults[order[0]]}"):
            session.check_experts(CheckPlan(num_episodes=3, min_return=61.0))


def test_what_the_best_of_several_reaches_is_kept() -> None:
    weak = EXPERT | {"target": "testbed:Clumsy"}
    with Session(config(**several(weak=weak, good=EXPERT))) as session:
        figures = session.check_experts(CheckPlan(num_episodes=3))
        assert figures["expert/check_return_mean"] == 60
        assert session.scores(3, Purpose.TUNE)["weak"].mean < 60


@pytest.mark.parametrize(
    ("intervener", "text"),
    [
        ({"kind": "keyboard", "keys": {"lefft": 0}}, "no key 'lefft'"),
        ({"kind": "keyboard", "keys": {"left": 2}}, r"keys\.left: 2 is not one of the \(2,\) actions from 0"),
        ({"kind": "import", "target": "gatebed:Rescuers"}, "did you mean Rescuer"),
    ],
)
def test_who_cannot_intervene_is_refused_at_once(intervener: dict[str, Any], text: str) -> None:
    env = {"id": "CartPole-v1", "kwargs": {"render_mode": "human"}}
    algorithm = {"kind": "dagger", "gate": {"kind": "human", "intervener": intervener}}
    with pytest.raises(InputError, match=text):
        Session(config(env=env, rollouts={"num_workers": 0, "num_envs": 1}, algorithm=algorithm, **SCRIPTED))


def write_policy(folder: Path, shift: int) -> None:
    """An expert's file: a policy of some weights."""
    spec = describe(GymEnvConfig(id="CartPole-v1"))
    ref = Policy(PolicyConfig(), spec.observation, spec.action).ref(0)
    arrays = {name: np.full_like(value, shift + 1) for name, value in ref.arrays.items()}
    save_policy(replace(ref, arrays=arrays), folder)


def test_another_expert_file_at_the_same_path_gives_other_episodes(tmp_path: Path) -> None:
    """CORRECTNESS 35."""
    expert = {"kind": "policy", "path": str(tmp_path / "expert")}
    settings = config(expert=expert, data={"path": str(tmp_path / "demos"), "episodes": 2}, runs=str(tmp_path / "runs"))
    found = []
    for shift in (0, 1, 0):
        write_policy(tmp_path / "expert", shift)
        with Session(settings) as session:
            report = session.collector(settings, session.store(settings)).collect(CollectPlan(num_episodes=2))
            found.append((report.stream, report.num_episodes, session.fleet._ledger))
    assert [num for _, num, _ in found] == [2, 2, 0]
    assert found[0][0] == found[2][0] != found[1][0]
    assert found[0][2] == found[2][2] != found[1][2]  # a service's answers are kept apart too


def test_another_environment_under_the_same_name_gives_other_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 35."""
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = config(env={"kind": "import", "target": "own_pole:make"}, data={"path": str(tmp_path / "demos")})
    streams = []
    for gravity in (9.8, 3.0, 9.8):
        (tmp_path / "own_pole.py").write_text(OWN_POLE.format(gravity=gravity))
        monkeypatch.delitem(sys.modules, "own_pole", raising=False)
        with Session(settings) as session:
            streams.append(Collector.stream(session.collector(settings, None), CollectPlan(num_episodes=1)))  # type: ignore[arg-type]
    assert streams[0] == streams[2] != streams[1]
    monkeypatch.delitem(sys.modules, "own_pole")


OWN_POLE = """
import gymnasium as gym

def make():
    env = gym.make("CartPole-v1")
    env.unwrapped.gravity = {gravity}
    return env
"""


class Greets(CartPoleEnv):
    """Its reset says where the episode begins; its steps count."""

    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0], {"start": "left", "both": 1}

    def step(self, action: Any) -> Any:
        return *super().step(action)[:4], {"both": 2}


@pytest.mark.parametrize(
    ("infos", "expected"),
    [
        (["start", "other"], ["rollouts.infos: start of a reset is not stored, only what steps return"]),
        (["other"], []),
        ([], []),
    ],
)
def test_what_only_a_reset_returns_is_said_to_be_dropped(infos: list[str], expected: list[str]) -> None:
    """Issue 8, number 43: the keys of a reset's infos were dropped without notice."""
    out = io.StringIO()
    env = {"kind": "import", "target": f"{__name__}:Greets", "max_episode_steps": 5}
    settings = validate(RunConfig, {"env": env, "rollouts": {"num_workers": 0, "infos": infos}})
    with Session(settings, Console(out)):
        pass
    assert out.getvalue().splitlines() == expected
