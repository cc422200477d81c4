"""The tasks of multimodal.py: data with several right answers, and what a policy's answers to them are worth.

Legend: N samples, P places, D action dimension, M modes.
"""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box

import distil
from distil.config import load_recipe
from distil.envs.avoiding import NUM_WAYS, ROWS, way_of
from distil.policies.config import ActMode
from distil.rollouts import EvalResult
from distil.seeding import Purpose, generator
from distil.session import Session
from distil.store import Store
from distil.validation import store_spec

Array = npt.NDArray[np.float64]


class Task(ABC):
    """A task: what all heads share, its data, its scores.

    Attributes:
        recipe: a shipped recipe's name, or the data of one.
        scores: names of what `score` returns -> how the table shows it.
        shares_data: whether all heads learn from the same data; DAgger collects its own.
    """

    recipe: ClassVar[str | Mapping[str, Any]]
    scores: ClassVar[Mapping[str, str]]
    shares_data: ClassVar[bool] = True

    def prepare(self, folder: Path, seed: int) -> Path:
        """Make the data that the runs of a seed share; return where they are, or where the expert shall put them."""
        return folder / f"data-{seed}"

    @abstractmethod
    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """Return the scores of a run's policy.

        Args:
            run: a finished one.
            act: how it acts.
            folder: an empty one, for files that aren't kept.
            purpose: of which episodes.
        """


class Bimodal(Task):
    """Regression: two Gaussians in the plane whose places and weights change with x. Their density is known.

    `coverage`: how much of the two modes' true shares the samples have, the smaller of both ratios, at most 1; mean over x. A
    sample is a mode's within 4 standard deviations. `between`: samples that are neither's. `mmd`: the maximum mean discrepancy
    to the true density, exact but for the policy's samples (Gretton et al., 2012, equation 3, with a Gaussian kernel).
    """

    recipe: ClassVar[str | Mapping[str, Any]] = {
        "algorithm": {"kind": "bc"},
        "policy": {"encoder": {"kind": "mlp", "hidden": [128, 128]}},
        "learner": {"num_steps": 3000, "batch_size": 256, "learning_rate": 0.001, "ema_decay": 0.999},
    }
    scores: ClassVar[Mapping[str, str]] = {"coverage": ".2f", "between": ".3f", "mmd": ".3f"}
    sigma, width = 0.05, 0.1  # of a mode, of the kernel
    num_rows, num_places, num_samples = 5000, 16, 512

    def prepare(self, folder: Path, seed: int) -> Path:
        """See `Task.prepare`."""
        path = super().prepare(folder, seed)
        if not Store.exists(path):
            rng = generator(seed, "bimodal")
            x_N = rng.uniform(-1, 1, self.num_rows)
            mode_N = (rng.random(self.num_rows) >= self.weights(x_N)[:, 0]).astype(int)
            y_ND = self.modes(x_N)[np.arange(self.num_rows), mode_N] + self.sigma * rng.normal(size=(self.num_rows, 2))
            spaces = {"observation_space": Box(-1, 1, (1,), np.float32), "action_space": Box(-1, 1, (2,), np.float32)}
            ends = np.arange(100, self.num_rows + 1, 100)  # rows of an episode have nothing to do with each other
            distil.Store.create(path, **spaces).add(
                observations=x_N[:, None], actions=y_ND, episode_ends=ends, final_observation="repeat"
            )
        return path

    def modes(self, x_N: Array) -> Array:
        """Return the modes' places, [N, M, D]."""
        middle_ND = 0.3 * np.stack([np.sin(3 * x_N), np.cos(3 * x_N)], 1)
        way_ND = 0.4 * np.stack([np.cos(np.pi / 2 * x_N), np.sin(np.pi / 2 * x_N)], 1)
        return np.stack([middle_ND + way_ND, middle_ND - way_ND], 1)

    def weights(self, x_N: Array) -> Array:
        """Return the modes' weights, [N, M]."""
        first_N = 0.5 + 0.3 * np.sin(2 * x_N)
        return np.stack([first_N, 1 - first_N], 1)

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`."""
        policy, places = run.policy(), np.linspace(-1, 1, self.num_places)
        samples = [policy.predict(np.full((self.num_samples, 1), x), deterministic=act == "point") for x in places]
        return self.figures(places, np.array(samples, np.float64))

    def figures(self, places: Array, samples: Array) -> dict[str, float]:
        """Return the scores of samples [P, N, D], N at each of P places."""
        coverage, between, squared = [], [], []
        for modes_MD, weights_M, found_ND in zip(self.modes(places), self.weights(places), samples, strict=True):
            is_near_NM = np.linalg.norm(found_ND[:, None] - modes_MD, axis=-1) < 4 * self.sigma
            coverage.append(min(1, *(is_near_NM.mean(0) / weights_M)))
            between.append(1 - is_near_NM.any(1).mean())
            squared.append(self._squared_mmd(found_ND, modes_MD, weights_M))
        mmd = np.sqrt(max(0, np.mean(squared)))
        return {"coverage": float(np.mean(coverage)), "between": float(np.mean(between)), "mmd": float(mmd)}

    def _squared_mmd(self, found_ND: Array, modes_MD: Array, weights_M: Array) -> float:
        """Return the squared discrepancy without bias: E k(a, a') - 2 E k(a, y) + E k(y, y')."""
        num = len(found_ND)
        own_NN = self._kernel(found_ND, found_ND, 0)
        own = (own_NN.sum() - np.trace(own_NN)) / (num * (num - 1))
        across = (self._kernel(found_ND, modes_MD, 1) @ weights_M).mean()
        return float(own - 2 * across + weights_M @ self._kernel(modes_MD, modes_MD, 2) @ weights_M)

    def _kernel(self, left_ND: Array, right_MD: Array, num_blurred: int) -> Array:
        """Return E k(left, right), [N, M], where `num_blurred` of the two are means of a mode's Gaussian."""
        square, blurred = self.width**2, self.width**2 + num_blurred * self.sigma**2
        distance_NM = np.square(left_ND[:, None] - right_MD).sum(-1)
        return np.asarray((square / blurred) ** (left_ND.shape[1] / 2) * np.exp(-distance_NM / (2 * blurred)))


class Avoiding(Task):
    """The recipe avoiding-bc: success, and the entropy of the successes' ways in log base 24, also over the demonstrations'."""

    recipe: ClassVar[str | Mapping[str, Any]] = load_recipe("avoiding-bc")
    scores: ClassVar[Mapping[str, str]] = {"success": ".2f", "entropy": ".2f", "of demonstrations": ".2f"}
    num_episodes = 240

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`."""
        result, played = played_by(run, act, folder, purpose, self.num_episodes)
        assert result.successes is not None
        own, shown = entropy(ways_in(played)), entropy(ways_in(Store.open(run.config.store_path)))
        return {"success": float(result.successes.mean()), "entropy": own, "of demonstrations": own / shown}


class AvoidingDagger(Avoiding):
    """As Avoiding, with DAgger: as many gradient steps and episodes in all, three quarters of these the learner's.

    `labels`: how many steps the expert has labelled.
    """

    recipe: ClassVar[str | Mapping[str, Any]] = {
        **load_recipe("avoiding-bc"),
        "name": "avoiding-dagger",
        "data": {**load_recipe("avoiding-bc")["data"], "episodes": 48},
        "algorithm": {"kind": "dagger", "act": "sample", "rounds": 4, "episodes_per_round": 48, "tuning_episodes": 0},
        "learner": {"num_steps": 1500, "ema_decay": 0.999},
    }
    scores: ClassVar[Mapping[str, str]] = {**Avoiding.scores, "labels": ",.0f"}
    shares_data = False

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`."""
        return super().score(run, act, folder, purpose) | {"labels": run.reports[-1].spent.expert_labels}


class AvoidingGate(AvoidingDagger):
    """As AvoidingDagger, but SafeDAgger's gate decides who acts and whether the expert is asked."""

    recipe: ClassVar[str | Mapping[str, Any]] = {
        **AvoidingDagger.recipe,
        "name": "avoiding-gate",
        "algorithm": {**AvoidingDagger.recipe["algorithm"], "gate": {"kind": "safe"}},
    }


class Lander(Task):
    """LunarLander with continuous actions, where one answer is right: what heads for several cost there. 20 demonstrations."""

    recipe: ClassVar[str | Mapping[str, Any]] = {
        "name": "lander",
        "env": {"id": "LunarLander-v3", "kwargs": {"continuous": True}},
        "expert": {"kind": "scripted"},
        "data": {"episodes": 20},
        "algorithm": {"kind": "bc"},
        "learner": {"num_steps": 4000},
    }
    scores: ClassVar[Mapping[str, str]] = {"score": ".3f", "labels": ",.0f"}
    num_episodes = 50

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`: 0 is a random policy, 1 the expert."""
        with Session(run.config) as session:
            baselines = session.baselines(self.num_episodes, purpose)
            result = session.evaluate("policy", self.num_episodes, run.policy().ref, purpose, act=act)
        assert baselines is not None
        return {"score": baselines.normalise(result.mean), "labels": run.reports[-1].spent.expert_labels}


class LanderDagger(Lander):
    """As Lander, with DAgger: as many episodes in all."""

    recipe: ClassVar[str | Mapping[str, Any]] = {
        **Lander.recipe,
        "name": "lander-dagger",
        "data": {"episodes": 5},
        "algorithm": {"kind": "dagger", "rounds": 4, "episodes_per_round": 5, "tuning_episodes": 0},
        "learner": {"num_steps": 1000},
    }
    shares_data = False


class OGBench(Task):
    """`distil.envs.ogbench`: success, and how much of the scripted policy's on the same episodes that is."""

    scores: ClassVar[Mapping[str, str]] = {"success": ".2f", "of expert": ".2f"}
    num_episodes = 50

    @staticmethod
    def of(env_name: str) -> Mapping[str, Any]:
        """Return the shipped recipe for an environment."""
        recipe = load_recipe("ogbench-cube-bc")
        return {**recipe, "name": env_name, "env": {**recipe["env"], "kwargs": {"env_name": env_name}}}

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`."""
        with Session(run.config) as session:
            shown = session.score("expert", self.num_episodes, purpose).successes
            result = session.evaluate("policy", self.num_episodes, run.policy().ref, purpose, act=act)
        assert result.successes is not None
        assert shown is not None
        return {"success": float(result.successes.mean()), "of expert": float(result.successes.mean() / shown.mean())}


class Cube(OGBench):
    """One cube to put down at a place."""

    recipe: ClassVar[str | Mapping[str, Any]] = OGBench.of("cube-single-v0")


class Scene(OGBench):
    """A cube, two buttons, a drawer or a window to move."""

    recipe: ClassVar[str | Mapping[str, Any]] = OGBench.of("scene-v0")


class PushT(Task):
    """The recipe pusht-bc: mean over the episodes of the maximum score, and success.

    Args:
        source: the human demonstrations: diffusion_policy's zarr, or an .npz of its arrays.
    """

    recipe: ClassVar[str | Mapping[str, Any]] = "pusht-bc"
    scores: ClassVar[Mapping[str, str]] = {"maximum": ".3f", "success": ".2f"}
    num_episodes = 50

    def __init__(self, source: Path | None) -> None:
        self._source = source

    def prepare(self, folder: Path, seed: int) -> Path:
        """See `Task.prepare`. All seeds have the same demonstrations."""
        path = folder / "data"
        if not Store.exists(path):
            assert self._source is not None, "the task pusht needs --pusht FILE"
            kind = "npz" if self._source.suffix == ".npz" else "zarr"
            options = ["observations=[state]", "observe=distil.envs.pusht:corners", "--recipe", "pusht-bc"]
            command = [sys.executable, "-m", "distil", "store", "import", kind, str(self._source), str(path), *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return path

    def score(self, run: distil.Run, act: ActMode, folder: Path, purpose: Purpose) -> dict[str, float]:
        """See `Task.score`."""
        result, _ = played_by(run, act, folder, purpose, self.num_episodes)
        assert result.successes is not None
        return {"maximum": result.mean, "success": float(result.successes.mean())}


def played_by(run: distil.Run, act: ActMode, folder: Path, purpose: Purpose, num: int) -> tuple[EvalResult, Store]:
    """Let a run's policy act; return the outcome, and a store of the episodes in `folder`."""
    config = run.config
    with Session(config) as session:
        store = Store.create(folder / "played", store_spec(config, session.spec))
        result = session.evaluate("policy", num, run.policy().ref, purpose, act=act, into=store)
    return result, Store.open(folder / "played")


def ways_in(store: Store) -> list[int]:
    """Return the way of each successful episode of Avoiding in a store."""
    snapshot = store.snapshot()
    episodes = (snapshot.episode(index) for index in range(snapshot.num_episodes))
    return [way_along(np.asarray(each.observations["obs"], np.float64)) for each in episodes if each.success]


def way_along(places: Array) -> int:
    """Return the number of the way that the places [N, 2] of a successful episode take."""
    gaps = []
    for y, row in ROWS:
        after = int(np.argmax(places[:, 1] >= y))
        gaps.append(int(np.searchsorted(row, places[after, 0])))
    return way_of(gaps)


def entropy(ways: list[int]) -> float:
    """Return the entropy of the ways' frequencies, in log base 24: 1 if all are equally frequent, 0 for none."""
    shares = np.bincount(ways, minlength=NUM_WAYS) / max(1, len(ways))
    return float(-sum(share * np.log(share) for share in shares if share) / np.log(NUM_WAYS))
