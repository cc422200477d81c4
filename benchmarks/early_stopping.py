"""Whether the loss on held-out episodes predicts a clone's score, and what early stopping by it saves and costs.

    python benchmarks/early_stopping.py --experts FOLDER [--only hopper-bc] [--seeds 10 11 12]

Each run trains a shipped recipe with a fifth of its episodes held out, for the recipe's number of gradient steps or four times
as many, and keeps the policy of each of 20 validations. All are scored on 20 tuning episodes (0: random policy, 1: expert);
neither these nor the root seeds are those of the other tables. A row has:

- rank: Spearman's correlation of the negative validation loss with the score, over the 20 policies of the run;
- last, best, least loss: the scores of the last policy, of the best one, and of the one with the least validation loss;
- patience: the score, and the steps taken, with `learner.patience` 3, which stops after 3 validations without a new least loss;
- all data: the score after as many steps on all episodes, none held out.

Writes early_stopping.json to benchmarks/results.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, write_result
from quality import EXPERTS
from scipy.stats import spearmanr
from torch import Tensor

import distil
from distil.objectives.optimiser_config import OptimiserConfig
from distil.objectives.ranks import Ranks
from distil.objectives.supervised import Supervised
from distil.policies.checkpoint import load_policy_ref, save_policy
from distil.policies.policy import Policy
from distil.policies.spec import PolicyRef
from distil.report import table
from distil.runconfig import load_config
from distil.seeding import Purpose
from distil.session import Session
from distil.types import Batch

RECIPES = ("cartpole-bc", "pendulum-scripted-bc", "hopper-bc")
FACTORS = (1, 4)  # of the recipe's gradient steps
VALIDATIONS = 20
PATIENCE = 3
EPISODES = 20


class Recorded(Supervised):
    """Cloning that keeps each policy that is validated, and its losses, in `folder`."""

    def __init__(self, policy: Policy, optimiser: OptimiserConfig, ranks: Ranks, folder: str) -> None:
        super().__init__(policy, optimiser, ranks)
        self._folder = Path(folder)

    def validate(self, policy: Policy, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return the loss of each held-out sample, [B]; a validation may have several batches."""
        loss_B = super().validate(policy, batch, generator)
        folder = self._folder / str(self._step)
        save_policy(policy.ref(self._step), folder)
        with (folder / "losses").open("a") as file:
            file.write(f"{float(loss_B.double().sum())} {len(loss_B)}\n")
        return loss_B


def recorded(folder: Path, every: int) -> tuple[list[float], list[PolicyRef]]:
    """Return the validation losses of a run, and its policies."""
    losses, policies = [], []
    for kept in (folder / str(every * (i + 1)) for i in range(VALIDATIONS)):
        total, num = np.loadtxt(kept / "losses", ndmin=2).sum(axis=0)
        losses.append(float(total / num))
        policies.append(load_policy_ref(kept))
    return losses, policies


def num_with_patience(losses: Sequence[float]) -> int:
    """Return the number of validations until `learner.patience` stops."""
    best = 0
    for index, loss in enumerate(losses):
        if loss < losses[best]:
            best = index
        elif index - best >= PATIENCE:
            return index + 1
    return len(losses)


def figures(losses: Sequence[float], scores: Sequence[float], every: int) -> dict[str, float | None]:
    """Return what a row shows of the validations of a run."""
    least, num = int(np.argmin(losses)), num_with_patience(losses)
    varied = len(set(scores)) > 1
    return {
        "rank": float(spearmanr(-np.asarray(losses), scores).statistic) if varied else None,
        "last": scores[-1],
        "best": max(scores),
        "least loss": scores[least],
        "at step": (least + 1) * every,
        "patience": scores[int(np.argmin(losses[:num]))],
        "stops at": num * every,
    }


def measure(recipe: str, seed: int, factor: int, experts: Path | None) -> dict[str, Any]:
    """Train and score one run."""
    with tempfile.TemporaryDirectory() as name:
        settings: dict[str, Any] = {"seed": seed, "runs": f"{name}/runs", "data.path": f"{name}/data"}
        settings |= {"tracking.enabled": False, "evaluation.episodes": 0, "rollouts.num_workers": 0}
        if recipe in EXPERTS:
            assert experts is not None
            settings["expert.path"] = str(experts / EXPERTS[recipe])
        settings["learner.num_steps"] = steps = factor * load_config(recipe, settings).learner.num_steps
        every = steps // VALIDATIONS
        objective = {"kind": "import", "target": "early_stopping:Recorded", "kwargs": {"folder": f"{name}/kept"}}
        held_out = {"learner.validation_fraction": 0.2, "learner.validate_every": every, "algorithm.objective": objective}
        with Session(load_config(recipe, settings)) as session:
            distil.train(recipe, settings | held_out, session=session)
            losses, policies = recorded(Path(name) / "kept", every)
            policies.append(distil.train(recipe, settings, session=session).policy().ref)
            baselines = session.baselines(EPISODES, Purpose.TUNE)
            assert baselines is not None
            found = [
                baselines.normalise(session.evaluate("policy", EPISODES, policy, Purpose.TUNE).mean) for policy in policies
            ]
    *scores, whole = [score for score in found if score is not None]
    return {"recipe": recipe, "steps": steps, "seed": seed, **figures(losses, scores, every), "all data": whole}


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=Path)
    parser.add_argument("--only", nargs="*", default=RECIPES, choices=RECIPES)
    parser.add_argument("--seeds", nargs="*", type=int, default=[10, 11, 12])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "early_stopping.json")
    args = parser.parse_args()
    if args.experts is None and EXPERTS.keys() & set(args.only):
        parser.error("--experts is missing: give the folder of the Stable-Baselines3 experts")
    runs = [measure(recipe, seed, factor, args.experts) for recipe in args.only for factor in FACTORS for seed in args.seeds]
    print(table(runs, f"Scores on {EPISODES} tuning episodes", width=128))
    write_result(args.out, {"machine": machine(), "results": runs})


if __name__ == "__main__":
    main()
