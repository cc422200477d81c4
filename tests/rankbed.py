"""One rank of a group in a separate process, which records the samples that it trains on."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import torch

from distil.heads.iterative_config import FlowConfig
from distil.learners.base import LearnerSetup
from distil.learners.config import LearnerConfig
from distil.learners.data import TrainingData, demos
from distil.learners.rank import Rank
from distil.nn.chunks_config import ChunkMlpConfig
from distil.objectives import gradient
from distil.objectives.config import ImportObjectiveConfig, SupervisedConfig
from distil.objectives.gradient import GradientObjective, fit_policy
from distil.objectives.ranks import Ranks
from distil.plans import StreamPlan, UpdatePlan
from distil.policies.config import MlpConfig, PolicyConfig
from distil.store.store import Store

HEAD = FlowConfig(network=ChunkMlpConfig(width=8, num_blocks=1))  # a loss of random numbers


def one_of_two(folder: Path, number: int, free_bytes: int, num_steps: int, batch_size: int, has_agent: bool) -> None:
    """Be rank `number` of two on the store in `folder`; write the first number of each sample's observation, and the weights.

    With `has_agent`, the episodes of the store are also the agent's stream, of an objective of two streams.
    """
    torch.set_num_threads(1)
    psutil.virtual_memory = lambda: SimpleNamespace(available=free_bytes)
    seen, original = [], GradientObjective.step

    def step(self, batches):
        seen.append(batches["demos"].observations["obs"][:, 0, 0].numpy().copy())
        return original(self, batches)

    def fit(policy, source, **facts):
        notes = fit_policy(policy, source, **facts)
        policy.encoder.features.mean.add_(1e-3 * number)  # as if this processor rounded in another way
        return notes

    GradientObjective.step, gradient.fit_policy = step, fit
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=number, world_size=2)
    snapshot = Store.open(folder / "store").snapshot()
    setup = LearnerSetup(
        config=LearnerConfig(batch_size=batch_size),
        policy=PolicyConfig(encoder=MlpConfig(hidden=(8,)), head=HEAD),
        spec=snapshot.spec,
        folder=folder / "checkpoints",
        seed=0,
        resume=False,
        objective=ImportObjectiveConfig(target="objectivebed:Gentle") if has_agent else SupervisedConfig(),
    )
    rank = Rank(setup, ranks=Ranks(rank=number, world_size=2))
    streams = demos(snapshot) | ({"agent": TrainingData(parts=(snapshot,))} if has_agent else {})
    plans = {name: StreamPlan(source="agent" if name == "agent" else "demos") for name in streams}
    metrics = rank.update(UpdatePlan(num_steps=num_steps, streams=plans), streams)
    np.savez(folder / f"weights{number}.npz", **rank.policy.arrays)
    np.save(folder / f"seen{number}.npy", np.concatenate(seen))
    (folder / f"metrics{number}.json").write_text(json.dumps(dict(metrics)))
    rank.close()
    torch.distributed.destroy_process_group()
