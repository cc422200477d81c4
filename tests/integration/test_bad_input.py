"""Bad input, as a user meets it: one line on stderr that says what, where and the fix; exit 2 or 1; nothing lost.

Most commands run in this process, because a new one takes seconds to import everything; tests/cli/test_main.py runs real ones.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distil.cli.main import main

BASE = ["rollouts.num_workers=0", "learner.num_steps=20", "evaluation.episodes=2", "tracking.enabled=false", "data.episodes=2"]

Distil = Callable[..., str]


def checked(code: int, expected: int, out: str, err: str) -> str:
    """Return stderr's only line, or stdout when all is well."""
    assert code == expected, err or out
    if code == 0:
        return out
    lines = [line for line in err.splitlines() if line.startswith("distil: ")]
    assert "Traceback" not in err
    assert len(lines) == 1, err
    return lines[0]


@pytest.fixture
def distil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Distil]:
    """Run the command line in `tmp_path`; return stderr's only line, or stdout when all is well."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m distil` does

    def run(*args: str, code: int) -> str:
        monkeypatch.setattr(sys, "argv", ["distil", *args])
        capsys.readouterr()
        done = 0
        try:
            main()
        except SystemExit as end:
            done = int(end.code or 0)
        shown = capsys.readouterr()
        return checked(done, code, shown.out, shown.err)

    yield run
    signal.signal(signal.SIGTERM, handler)
    sys.modules.pop("mine", None)


def distil_alone(*args: str, cwd: Path, code: int) -> str:
    """Run the command line as a process; return stderr's only line, or stdout when all is well."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "distil", *args]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    return checked(done.returncode, code, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["learner.num_step=5"], "unknown key learner.num_step; did you mean num_steps?"),
        (["learner.num_steps=many"], "learner.num_steps"),
        (["env.id=CartPol-v1"], "CartPole-v1"),
        (["expert.kind=scriptd"], "did you mean scripted?"),
        (["expert.name=lunarlander"], "lunarlander"),
        (["policy.head.kind=gaussian"], "policy.head.kind=gaussian doesn't fit a discrete action space"),
        (["algorithm.kind=dagger", "algorithm.gate.kind=ensemble"], "it has one: set policy.ensemble=5"),
        (["algorithm.kind=sqil"], "learner.num_steps=20 has no effect with algorithm.kind=sqil: set algorithm.steps"),
        (["algorithm.kind=gail", "algorithm.overlap=1"], "unknown key algorithm.overlap"),
        (["algorithm.kind=iq", "algorithm.stop.normalised=0.9"], "set stop.peek=true"),
        (["nonsense"], "key.path=value"),
        (["evaluation.episodes=-1"], "evaluation.episodes"),
        (["name=../elsewhere"], "name"),
    ],
)
def test_a_wrong_key_or_value_is_named(distil: Distil, tmp_path: Path, overrides: list[str], expected: str) -> None:
    line = distil("train", "cartpole-bc", *BASE, *overrides, code=2)
    assert expected in line
    assert not (tmp_path / "runs").exists()  # refused before anything started


def test_a_recipe_that_is_not_there(distil: Distil, tmp_path: Path) -> None:
    assert "did you mean cartpole-bc?" in distil_alone("train", "cartpol-bc", cwd=tmp_path, code=2)
    assert "no such recipe file" in distil("train", "mine.yaml", code=2)


def test_an_expert_without_its_file(distil: Distil, tmp_path: Path) -> None:
    assert "expert.path" in distil("train", "pendulum-bc", *BASE, code=2)
    assert "nowhere.zip" in distil("train", "pendulum-bc", *BASE, "expert.path=nowhere.zip", code=2)


def test_a_store_of_another_environment(distil: Distil, tmp_path: Path) -> None:
    distil("collect", "cartpole-bc", *BASE, code=0)
    line = distil("collect", "lunarlander-bc", *BASE, "data.path=data/cartpole-bc", code=2)
    assert "Box(4)" in line
    assert "Box(8)" in line


def test_an_altered_shard_is_named_by_verify(distil: Distil, tmp_path: Path) -> None:
    distil("collect", "cartpole-bc", *BASE, code=0)
    assert "no faults" in distil("store", "verify", "data/cartpole-bc", code=0)
    shard = next((tmp_path / "data/cartpole-bc/data").glob("*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(data)
    assert "1 fault" in distil("store", "verify", "data/cartpole-bc", code=1)


USERS_MODULE = """
import gymnasium as gym, numpy as np

class Breaks(gym.Wrapper):
    def __init__(self, how):
        super().__init__(gym.make("CartPole-v1"))
        self.how, self.steps = how, 0
    def reset(self, **kwargs):
        self.steps = 0
        return self.env.reset(**kwargs)
    def step(self, action):
        self.steps += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        if self.steps == 7 and self.how == "raise":
            raise ZeroDivisionError("the pole is imaginary")
        if self.steps == 7 and self.how == "nan":
            obs = obs * np.nan
        if self.steps == 7 and self.how == "shape":
            obs = obs[:2]
        return obs, reward, terminated, truncated, info

def bad_expert(obs, how):
    return np.zeros((len(obs), 3)) if how == "shape" else np.full((len(obs), 1), np.nan, np.float32)
"""


@pytest.mark.parametrize(("how", "expected"), [("raise", "imaginary"), ("nan", "NaN"), ("shape", "shape")])
def test_an_environment_that_breaks_names_seed_and_step_and_keeps_what_was_committed(
    distil: Distil, tmp_path: Path, how: str, expected: str
) -> None:
    (tmp_path / "mine.py").write_text(USERS_MODULE)
    distil("collect", "cartpole-bc", *BASE, code=0)
    line = distil(
        *("collect", "cartpole-bc", *BASE, "env.kind=import", "env.target=mine:Breaks", f"env.kwargs.how={how}"),
        "expert.name=cartpole",
        code=1,
    )
    assert expected in line
    assert "seed" in line
    assert "step 7" in line or "step 6" in line
    assert '"episodes": 2' in distil("store", "info", "data/cartpole-bc", "--json", code=0)


@pytest.mark.parametrize(("how", "expected"), [("nan", "[nan]"), ("shape", "shape (2, 3)")])
def test_an_expert_that_answers_nonsense(distil: Distil, tmp_path: Path, how: str, expected: str) -> None:
    (tmp_path / "mine.py").write_text(USERS_MODULE)
    overrides = ["env.id=Pendulum-v1", "expert.kind=import", "expert.target=mine:bad_expert", f"expert.kwargs.how={how}"]
    line = distil("collect", "cartpole-bc", *BASE, *overrides, code=1)
    assert expected in line
    assert "mine:bad_expert" in line
    assert "step 0" in line


def test_a_run_that_is_none(distil: Distil, tmp_path: Path) -> None:
    assert "no run" in distil("evaluate", "runs/nothing", code=2)
    assert "no run to resume" in distil("train", "cartpole-bc", "--resume", code=2)


def test_a_policy_of_another_shape(distil: Distil, tmp_path: Path) -> None:
    distil("train", "cartpole-bc", *BASE, code=0)
    distil("train", "lunarlander-bc", *BASE, "data.episodes=1", code=0)
    weights = "policy/policy.safetensors"
    (tmp_path / "runs/lunarlander-bc-001" / weights).replace(tmp_path / "runs/cartpole-bc-001" / weights)
    line = distil("evaluate", "runs/cartpole-bc-001", code=2)
    assert "Box(8)" in line
    assert "Box(4)" in line


def test_a_damaged_policy(distil: Distil, tmp_path: Path) -> None:
    distil("train", "cartpole-bc", *BASE, code=0)
    path = tmp_path / "runs/cartpole-bc-001/policy/policy.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    assert "policy.safetensors" in distil("evaluate", "runs/cartpole-bc-001", code=2)
