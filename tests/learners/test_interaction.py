"""Updates of learning by interaction, of each algorithm: poisoned rewards, kills, divergence, two ranks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forkbed import side_by_side
from interactionbed import ALGORITHMS, config, one_of_two, setup_of, streams_of, update_of
from learnedbed import learned

from distil.errors import RunError
from distil.learners.checkpoints import Checkpoints
from distil.learners.data import Streams
from distil.learners.rank import Rank
from distil.objectives.interaction import Interaction
from distil.plans import StreamPlan, UpdatePlan
from distil.policies.spec import PolicyRef
from distil.rewards.ref import RewardRef, save_reward

STEPS = 24


def same(one: PolicyRef, two: PolicyRef) -> bool:
    return one.arrays.keys() == two.arrays.keys() and all(np.array_equal(one.arrays[k], two.arrays[k]) for k in one.arrays)


def update(rank: Rank, kind: str, index: int, streams: Streams) -> None:
    plan = update_of(kind, STEPS, index)
    rank.update(plan, {name: streams[name] for name in plan.streams})


def trained(folder: Path, kind: str, rewards: float | None = None, name: str = "checkpoints") -> PolicyRef:
    """Two updates on the stores in `folder`, whose rewards are `rewards` (None: plausible ones)."""
    rank = Rank(setup_of(folder, kind, name))
    for index in (1, 2):
        update(rank, kind, index, streams_of(folder, kind, rewards))
    return rank.policy


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, PolicyRef]]:
    """Return the folder and the policy of an undisturbed learner of a kind; it is trained once, into `calm`."""

    @cache
    def of(kind: str) -> tuple[Path, PolicyRef]:
        folder = tmp_path_factory.mktemp(kind)
        return folder, trained(folder, kind, name="calm")

    return of


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_the_environments_reward_is_never_read_in_imitation(tmp_path: Path, kind: str, calm: Any) -> None:
    """CORRECTNESS 20: it is NaN in both stores. Only reinforcement learning reads it."""
    if kind == "rl":
        with pytest.raises(RunError, match="training diverged"):
            trained(tmp_path / "poisoned", kind, rewards=np.nan)
    else:
        assert same(trained(tmp_path / "poisoned", kind, rewards=np.nan), calm(kind)[1])


@pytest.mark.parametrize("step", [{"kind": "ppo", "epochs": 2}, {"kind": "soft_q"}])
def test_the_environments_reward_is_never_read_where_another_one_is_given(tmp_path: Path, step: dict[str, Any]) -> None:
    """CORRECTNESS 20, for each way in which rewards reach a step."""
    file = save_reward(learned("gail"), tmp_path / "reward")
    changes = {"algorithm": {"kind": "rl", "step": step, "reward": {"kind": "learned", "path": str(file.parent)}}}
    found = list[PolicyRef]()
    for name, rewards in (("calm", None), ("poisoned", np.nan), ("other", None)):
        if name == "other":
            save_reward(learned_again("gail"), file.parent)
        objective = config(tmp_path, "rl", **changes).algorithm.objective
        rank = Rank(replace(setup_of(tmp_path / name, "rl"), objective=objective))
        for index in (1, 2):
            update(rank, "rl", index, streams_of(tmp_path / name, "rl", rewards))
        found.append(rank.policy)
        assert rank.reward is not None
    assert same(found[0], found[1])
    assert not same(found[0], found[2]), "it is the given one that counts"


def learned_again(kind: str) -> RewardRef:
    """Another reward: the same with the opposite sign."""
    ref = learned(kind)
    last = {name: -value for name, value in ref.arrays.items() if name.startswith("model.network.last")}
    assert last
    return replace(ref, arrays={**ref.arrays, **last})


@pytest.mark.parametrize("kind", [kind for kind in ALGORITHMS if kind != "csil"])
def test_negatives_are_drawn_from_all_that_is_stored(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 22: an epoch has each of the learner's steps once, in an order of its own, unlabelled as they are."""
    seen, original = list[float](), Interaction.step

    def step(self: Any, batches: Mapping[str, Any]) -> Any:
        seen.extend(batches["agent"].observations["obs"][:, 0, 0].tolist())
        return original(self, batches)

    monkeypatch.setattr(Interaction, "step", step)
    streams = streams_of(tmp_path, kind)
    (part,) = streams["agent"].parts
    num_steps = part.num_transitions // 16
    assert part.num_transitions == num_steps * 16
    Rank(setup_of(tmp_path, kind)).update(update_of(kind, num_steps, 1), streams)
    rows = np.concatenate([part.episode(i).observations["obs"][:-1, 0] for i in range(part.num_episodes)])
    assert sorted(seen) == sorted(rows.tolist())
    assert seen != rows.tolist()


class Killed(BaseException):
    """Stands for a SIGKILL."""


def kill_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process die in its gradient step `number` from now, after the weights moved."""
    calls, original = itertools.count(1), Interaction.step

    def dying(self: Any, batches: Any) -> Any:
        out = original(self, batches)
        if next(calls) == number:
            raise Killed
        return out

    patch.setattr(Interaction, "step", dying)


def content(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    newest = next(Checkpoints(folder).newest_first())
    timing = ("time/update_s", "time/update_cpu_s", "time/data_wait_s", "train/samples_per_s")
    metrics = {name: value for name, value in newest.state["metrics"].items() if name not in timing}
    return dict(newest.tensors), {**newest.state, "metrics": metrics}


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("kills", [(3,), (STEPS + 9, 4), (11, 11, 11)])
def test_killed_and_resumed_equals_undisturbed(kind: str, kills: tuple[int, ...], calm: Any) -> None:
    """CORRECTNESS 11: bit for bit, weights, targets, temperature, reward model and moments, on-policy ones too."""
    folder, undisturbed = calm(kind)
    name = f"killed at {kills}"

    def attempt(resume: bool) -> PolicyRef:
        rank = Rank(replace(setup_of(folder, kind, name), resume=resume))
        for index in (1, 2):
            update(rank, kind, index, streams_of(folder, kind))
        return rank.policy

    for number, step in enumerate(kills):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step)
            with pytest.raises(Killed):
                attempt(resume=number > 0)
    assert same(attempt(resume=True), undisturbed)
    (tensors, state), (expected, expected_state) = content(folder / name), content(folder / "calm")
    assert state == expected_state
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in tensors.items())


@pytest.mark.parametrize("part", ["policy.head", "reward.", "rl.log_alpha", "adamw.critic"])
def test_an_update_that_diverges_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Also if only the reward model or the temperature is NaN; what is resumed continues from before."""
    setup, streams, plan = setup_of(tmp_path, "dac"), streams_of(tmp_path, "dac"), update_of("dac", STEPS, 1)
    calls, original = itertools.count(1), Interaction.step

    def spoilt(self: Interaction, batches: Any) -> Any:
        if next(calls) == 10:
            tensors = self.state_dict().tensors
            tensors[next(name for name in tensors if name.startswith(part))].detach().fill_(np.nan)
        return original(self, batches)

    rank = Rank(setup)
    with monkeypatch.context() as patch:
        patch.setattr(Interaction, "step", spoilt)
        with pytest.raises(RunError, match=r"diverged: after 14 steps \S+ is not finite \(.*the checkpoint before it is kept"):
            rank.update(plan, streams)
    assert rank.policy.version == 0
    assert [path.name for path in setup.folder.glob("*.safetensors")] == ["round-000001-step-000000007.safetensors"]
    Rank(replace(setup, resume=True)).update(plan, streams)
    calm = Rank(setup_of(tmp_path, "dac", "calm"))
    calm.update(plan, streams)
    assert all(
        torch.equal(x, y) for x, y in zip(*(content(f)[0].values() for f in (setup.folder, tmp_path / "calm")), strict=True)
    )


def test_two_ranks_take_the_steps_of_one(tmp_path: Path, calm: Any) -> None:
    """CORRECTNESS 28: two processes; parameters equal to 1e-5, with noise, dropout, second derivatives and prepared fields."""
    assert side_by_side(one_of_two, *((tmp_path, STEPS, number, *ALGORITHMS) for number in (0, 1))) == [0, 0]
    for kind in ALGORITHMS:
        _, alone = calm(kind)
        for number in (0, 1):
            arrays = np.load(tmp_path / kind / f"weights{number}.npz")
            assert all(np.allclose(values, arrays[name], rtol=0, atol=1e-5) for name, values in alone.arrays.items()), kind


def test_an_update_without_steps_fits_the_statistics(tmp_path: Path) -> None:
    """On the demonstrations, before there is any step of the learner: without it, its policy could not act."""
    rank, streams = Rank(setup_of(tmp_path, "airl")), streams_of(tmp_path, "airl")
    assert np.isnan(rank.policy.arrays["encoder.features.mean"]).all()
    rank.update(UpdatePlan(num_steps=0, streams={"demos": StreamPlan()}), {"demos": streams["demos"]})
    assert np.isfinite(rank.policy.arrays["encoder.features.mean"]).all()
    fitted = rank.policy.arrays["encoder.features.mean"]
    rank.update(update_of("airl", STEPS, 1), streams)
    assert np.array_equal(rank.policy.arrays["encoder.features.mean"], fitted)
    again = Rank(replace(setup_of(tmp_path, "airl"), resume=True))
    assert again.policy.version == rank.policy.version == 2
