"""Environments and experts for tests: they count, fail and die on request. Ray actors import this module too."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from distil.experts.team import Team
from distil.types import Labels


class Toy(gym.Env):
    """The observation is (seed, step, last action); the reward is 1. Length and fault are arguments.

    Args:
        lengths: an episode's length is lengths[seed % len(lengths)].
        end: "terminated" or "truncated".
        fault: what happens at (bad_seed, bad_step): raise, nan, nan_reward, shape, dtype, exit (the process dies), exit_once
            (dies unless the file `marker` exists, which it makes), sleep.
    """

    def __init__(self, lengths=(5,), end="terminated", fault="", bad_seed=-1, bad_step=0, marker="", success=False, sleep=0.0):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gym.spaces.Discrete(3, start=1)
        self.lengths, self.end, self.success = lengths, end, success
        self.sleep = float(os.environ.get("TOY_SLEEP", sleep))
        self.fault, self.bad_seed, self.bad_step, self.marker = fault, bad_seed, bad_step, marker
        if fault == "exit_sealing":
            sys.addaudithook(self._watch)

    def _watch(self, event, args):
        if event == "open" and str(args[0]).startswith(f"{self.marker}/data/") and args[2] & os.O_CREAT:
            with Path(self.marker).with_name("deaths").open("a") as file:
                file.write(".")
            os.kill(os.getpid(), signal.SIGKILL)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed = int(self.np_random.integers(10**6)) + 10**9 if seed is None else seed  # a seed of its own is recognisable
        self.count, self.total = 0, 0
        return self._obs(0), {}

    def _obs(self, action):
        return np.array([self.seed, self.count, action], np.float64)

    def step(self, action):
        assert self.action_space.contains(action), action
        time.sleep(self.sleep)
        here = self.fault and self.seed == self.bad_seed and self.count == self.bad_step
        self.count += 1
        over = self.count >= self.lengths[self.seed % len(self.lengths)]
        obs, reward = self._obs(action), 1.0
        if here:
            obs, reward = self._misbehave(obs, reward)
        info = {"is_success": self.seed % 2 == 0, "count": np.int64(self.count)} if self.success else {}
        if isinstance(self.success, str):  # that key alone: NaN, 1 after two steps, 0 after the last one
            info = {self.success: 1.0 if self.count == 2 else 0.0 if over else np.nan}
        return obs, reward, over and self.end == "terminated", over and self.end == "truncated", info

    def _misbehave(self, obs, reward):
        if self.fault == "raise":
            raise ValueError("the wheel\nfell off")
        if self.fault == "exit" or (self.fault == "exit_once" and not Path(self.marker).exists()):
            if self.marker:
                Path(self.marker).touch()
            os._exit(1)
        values = {"nan": np.full(3, np.nan), "shape": obs[:2], "inf": np.array([1.0, np.inf, 0.0])}
        return values.get(self.fault, obs), np.nan if self.fault == "nan_reward" else reward


class Odd(gym.Env):
    """Two steps of uint8 observations; the second step has `changes`, by name: obs, reward, terminated, truncated, info."""

    observation_space = gym.spaces.Box(0, 255, (2,), np.uint8)
    action_space = gym.spaces.Discrete(2)
    changes: ClassVar[dict] = {}  # of all

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(2, np.uint8), {}

    def step(self, action):
        self.count += 1
        over = self.count == 2
        given = {"obs": np.zeros(2, np.uint8), "reward": 0.5, "terminated": over, "truncated": False, "info": {"a": 1}}
        return tuple((given | (self.changes if over else {})).values())


class InPlace(gym.Env):
    """Scales its action in place; three steps whose observation is the action as received."""

    observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        seen = action.copy()
        action *= 5
        return seen, 0.0, self.count == 3, False, {}


def in_place(observations):
    """An expert that modifies its input."""
    actions = observations / 2 + 0.5
    observations[:] = 7
    return actions


class Normalised(gym.wrappers.NormalizeObservation):
    """Remembers earlier episodes."""

    def __init__(self):
        super().__init__(Toy())


class Nested(gym.Env):
    """Every supported kind of observation at once, MultiDiscrete actions; three steps."""

    def __init__(self):
        self.observation_space = gym.spaces.Dict(
            image=gym.spaces.Box(0, 255, (4, 4, 3), np.uint8),
            state=gym.spaces.Tuple((gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(5))),
            flags=gym.spaces.MultiBinary(3),
        )
        self.action_space = gym.spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.count = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.count += 1
        return self.observation_space.sample(), 0.5, self.count == 3, False, {}


def team_of(*experts):
    """A team of experts by their names; None without names."""
    return Team(members={expert.name: expert for expert in experts}) if experts[0] is not None else None


class ColumnVector(gym.vector.VectorWrapper):
    """A vector environment whose rewards have shape (N, 1)."""

    def step(self, actions):
        obs, rewards, *rest = self.env.step(actions)
        return obs, rewards[:, None], *rest


def column_vector(num_envs):
    return ColumnVector(vector(num_envs))


def limited(inner=None, spec=True):
    """CartPole without its limit, with a time limit of `inner` steps inside; with or without Gymnasium's spec."""
    env = gym.make("CartPole-v1", max_episode_steps=-1) if spec else CartPoleEnv()
    return env if inner is None else gym.wrappers.TimeLimit(env, inner)


class Unsupported(gym.Env):
    observation_space = gym.spaces.Dict(text=gym.spaces.Text(3))
    action_space = gym.spaces.Discrete(2)


class PlainVector(gym.vector.VectorEnv):
    """A user's vector environment: no partial reset, automatic resets at any time."""

    def __init__(self, num_envs, mode, **kwargs):
        self.inner = vector(num_envs, mode, **kwargs)
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": AutoresetMode(mode)}
        self.single_observation_space, self.single_action_space = (
            self.inner.single_observation_space,
            self.inner.single_action_space,
        )
        self.observation_space, self.action_space = self.inner.observation_space, self.inner.action_space

    def reset(self, *, seed=None, options=None):
        assert not options
        return self.inner.reset(seed=seed)

    def step(self, actions):
        return self.inner.step(actions)


class OneSeed(PlainVector):
    """Takes one seed for all."""

    def reset(self, *, seed=None, options=None):
        assert isinstance(seed, int), "one seed, please"
        return super().reset(seed=seed)


def vector_of_lists(num_envs, **kwargs):
    """The infos are a list of mappings."""
    return gym.wrappers.vector.DictInfoToList(vector(num_envs, **kwargs))


def vector(num_envs, mode="NextStep", kind="sync", env="Toy", shared_memory=True, **kwargs):
    makers = [lambda: globals()[env](**kwargs)] * num_envs
    if kind == "async":
        return AsyncVectorEnv(makers, shared_memory=shared_memory, autoreset_mode=AutoresetMode(mode))
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode(mode))


class CountingExpert:
    """Acts on the step counter of `Toy`; stateful, so that it sees its `begin` calls. Faults on request."""

    name = "counting"
    needs_env = False
    stateful = True

    def __init__(self, fault="", bad_step=0):
        self.fault, self.bad_step, self.begun = fault, bad_step, []

    def begin(self, slot, seed):
        self.begun.append((slot, seed))

    def act(self, observations, *, envs=None):
        steps = observations["obs"][:, 1].astype(np.int64)
        mask = np.ones(len(steps), np.bool_)
        if self.fault and (steps == self.bad_step).any():
            if self.fault == "raise":
                raise KeyError("lost")
            mask = steps != self.bad_step
        return Labels(actions=1 + steps % 3, mask=mask)


class PeekingExpert(CountingExpert):
    """Reads the simulator."""

    needs_env = True

    def act(self, observations, *, envs=None):
        return Labels(actions=np.array([1 + getattr(env, "count", 0) % 3 for env in envs]), mask=np.ones(len(envs), np.bool_))


class Alive:
    """Reads `Toy`'s simulator, and fails on one that was never reset or has ended its episode."""

    needs_env = True

    def __init__(self, stateful=False):
        self.stateful = stateful

    def act(self, observations, *, envs):
        assert len(observations) == len(envs)
        for row, env in zip(observations, envs, strict=True):
            assert env.count < env.lengths[env.seed % len(env.lengths)]
            assert (env.seed, env.count) == (row[0], row[1])
        return [1 + env.count % 3 for env in envs]


class Balancer:
    """Balances CartPole. What it is asked after a rollout (batches of more than `num_envs` rows) goes to the file `ledger`.

    Args:
        num_envs: most rows of a batch while it acts.
        ledger: file that gets a line a batch: the number of its rows.
        spoil: "" | "answers" (no action of the space where the cart is to the right) | "raise" (at the `spoil_at`-th batch).
        backwards: pushes the wrong way.
    """

    def __init__(self, num_envs=32, ledger="", spoil="", spoil_at=0, backwards=False):
        self.num_envs, self.ledger, self.spoil, self.spoil_at, self.backwards = num_envs, ledger, spoil, spoil_at, backwards

    def act(self, observations):
        actions = (observations @ np.array([0.1, 0.3, 4.0, 1.0]) > 0).astype(np.int64)
        if self.backwards:
            actions = 1 - actions
        if len(observations) > self.num_envs:
            self._asked(observations, actions)
        return actions

    def _asked(self, observations, actions):
        if self.ledger:
            path = Path(self.ledger)
            if self.spoil == "raise" and path.exists() and len(path.read_text().splitlines()) == self.spoil_at:
                path.write_text(path.read_text() + "0\n")  # only once
                raise ConnectionError("the expert is at lunch")
            with path.open("a") as file:
                file.write(f"{len(observations)}\n")
        if self.spoil == "answers":
            actions[observations[:, 0] > 0] = 7


class StepByStep(Balancer):
    """The same, but it must see every step of an episode in order."""

    stateful = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.steps = {}

    def begin(self, slot, seed):
        self.steps[slot] = 0

    def act(self, observations):
        assert set(self.steps) <= set(range(len(observations)))
        self.steps = {slot: count + 1 for slot, count in self.steps.items()}
        return super().act(observations)


class Inside(Balancer):
    """The same, from the simulator's own state."""

    needs_env = True

    def act(self, observations, *, envs):
        states = [getattr(env.unwrapped, "state", None) for env in envs]
        seen = np.array([np.zeros(4) if state is None else state for state in states], np.float32)
        return super().act(seen)


class Unreliable:
    """Answers 1 + step % 3 of `Toy`, from a process of its own: it notes its calls in the folder `notes`, and fails on request.

    Args:
        notes: folder; a call writes a file there, `<number>-<pid>`, with the number of rows that it answered.
        faults: number of a call -> raise | hang | die.
    """

    name = "unreliable"
    needs_env = stateful = False

    def __init__(self, notes, faults=None):
        self.notes = Path(os.environ.get("EXPERT_NOTES", notes))
        if not self.notes.is_absolute():
            raise ValueError(
                f"notes={self.notes}: give an absolute path, a relative one lands wherever the process was started"
            )
        self.faults = {int(number): fault for number, fault in (faults or {}).items()}

    def begin(self, slot, seed):
        pass

    def act(self, observations, *, envs=None):
        rows = observations["obs"] if isinstance(observations, dict) else observations
        self.notes.mkdir(exist_ok=True)
        number = len(list(self.notes.iterdir()))
        note = self.notes / f"{number:04d}-{os.getpid()}"
        note.write_text("0")
        fault = self.faults.get(number, "")
        if fault == "raise":
            raise ConnectionError("the expert is at lunch")
        if fault == "hang":
            time.sleep(600)
        if fault == "die":
            os._exit(1)
        note.write_text(str(len(rows)))
        return Labels(actions=1 + rows[:, 1].astype(np.int64) % 3, mask=np.ones(len(rows), np.bool_))

    def paid(self):
        """Return the rows that were answered."""
        return sum(
            int(note.read_text() or 0) for note in self.notes.iterdir()
        )  # empty: killed while it wrote, before it answered

    def pids(self):
        """Return the processes that were asked, oldest first."""
        return [int(note.name.partition("-")[2]) for note in sorted(self.notes.iterdir())]


class Shapeless:
    """Returns arrays of a shape that no action has."""

    name, needs_env, stateful = "shapeless", False, False

    def begin(self, slot, seed):
        pass

    def act(self, observations, *, envs=None):
        return Labels(actions=np.zeros((1, 9)), mask=np.ones(1, np.bool_))


class Clumsy(Balancer):
    """Balances only for a while: it observes the pole's angle but not its velocity."""

    def act(self, observations):
        return super().act(observations * np.array([0, 0, 1, 0]))
