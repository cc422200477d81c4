"""The setting: a hit of the cache needs the same environment, expert, files, episodes and packages."""

import sys
from pathlib import Path
from typing import Any

import pytest

from distil import setting as module
from distil.config import validate
from distil.content import Content
from distil.errors import InputError
from distil.experts.imported import ImportExpertConfig
from distil.runconfig import RunConfig
from distil.setting import Setting

BASE = {"env": {"id": "CartPole-v1"}, "expert": {"kind": "scripted"}}


def config(**keys: Any) -> RunConfig:
    return validate(RunConfig, BASE | keys)


def key(settings: RunConfig, who: Any = "expert", expert: str = "", num: int = 3, num_envs: int = 4) -> Any:
    return Setting.of(settings).baseline_key(who, expert, list(range(num)), num_envs)


def test_what_decides_a_result_is_in_its_key_and_nothing_else() -> None:
    first = key(config())
    assert first == key(config(seed=3, algorithm={"kind": "dagger"}, runs="elsewhere"))
    assert first == key(config(expert={"kind": "scripted", "paid": True}))
    others = [
        key(config(env={"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}})),
        key(config(env={"id": "CartPole-v1", "max_episode_steps": 9})),
        key(config(expert={"kind": "random"})),
        key(config(), who="random"),
        key(config(), num=4),
        key(config(), num_envs=8),
    ]
    assert all(other not in (None, first) for other in others)
    assert key(config(), who="random") == key(config(expert={"kind": "random"}), who="random")  # whatever the expert


def test_other_packages_are_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    first = key(config())
    asked: list[str] = []
    monkeypatch.setattr(module, "packages", lambda *more: (asked.extend(more), {"gymnasium": "0.0"})[1])
    assert key(config()) != first
    key(config(env={"kind": "import", "target": "testbed:Toy"}, expert={"kind": "random"}))
    assert {"distil", "gymnasium", "testbed"} <= set(asked)  # the packages of its modules


def test_one_of_several_experts_has_the_key_that_it_has_alone() -> None:
    members = {"a": {"kind": "scripted"}, "b": {"kind": "random"}}
    several = config(expert={"kind": "several", "members": members})
    assert key(several, expert="a") == key(config())
    assert key(several, expert="b") == key(config(expert={"kind": "random"}))


def test_an_edited_source_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 35."""
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = config(expert={"kind": "import", "target": "own_expert:act"})
    keys = []
    for text in ("1", "0", "1"):
        (tmp_path / "own_expert.py").write_text(f"def act(obs):\n    return [{text}] * len(obs)\n")
        monkeypatch.delitem(sys.modules, "own_expert", raising=False)
        keys.append(key(settings))
    assert keys[0] == keys[2] != keys[1]
    monkeypatch.delitem(sys.modules, "own_expert")


def test_an_edited_module_elsewhere_in_the_package_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 35."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("__init__.py", "envs/__init__.py"):
        (tmp_path / "own_package" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "own_package" / name).touch()
    text = "import gymnasium\nfrom own_package.gain import GAIN\nfrom ..step import SIZE\n"
    text += "def make():\n    return gymnasium.make('CartPole-v1', max_episode_steps=GAIN * SIZE)\n"
    (tmp_path / "own_package" / "envs" / "pole.py").write_text(text)
    keys = []
    for gain, size in ((5, 5), (6, 5), (5, 6), (5, 5)):
        (tmp_path / "own_package" / "gain.py").write_text(f"GAIN = {gain}\n")
        (tmp_path / "own_package" / "step.py").write_text(f"SIZE = {size}\n")
        for name in [name for name in sys.modules if name.startswith("own_package")]:
            monkeypatch.delitem(sys.modules, name)
        keys.append(
            key(config(env={"kind": "import", "target": "own_package.envs.pole:make"}, expert={"kind": "random"}), who="random")
        )
    assert keys[0] == keys[3]
    assert keys[0] not in keys[1:3]
    assert keys[1] != keys[2]
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        monkeypatch.delitem(sys.modules, name)


def test_what_is_not_known_by_its_content_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(expert={"kind": "import", "target": "testbed:Balancer"})
    assert key(settings) is not None
    monkeypatch.setattr(ImportExpertConfig, "content", lambda self, env: Content(unknown=frozenset({"__main__"})))
    assert key(settings) is None
    assert key(settings, who="random") is not None  # the expert has no part in it
    monkeypatch.setattr(module, "content_of", lambda env: Content(unknown=frozenset({"__main__"})))
    assert key(config(), who="random") is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"env": {"id": "CartPole-v1", "max_episode_steps": 9}}, "another env than"),
        ({"expert": {"kind": "random"}}, "another expert than"),
        ({"env": {"id": "Pendulum-v1"}, "expert": None}, "another env and expert than"),
    ],
)
def test_a_run_of_another_setting_is_refused(change: dict[str, Any], words: str) -> None:
    setting = Setting.of(config())
    setting.require_same(config(seed=2, policy={"ensemble": 2}))
    with pytest.raises(InputError, match=f"^session: made for {words} the run's: make a Session"):
        setting.require_same(config(**change))


def test_a_run_whose_expert_has_changed_on_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORRECTNESS 35."""
    setting = Setting.of(config())
    monkeypatch.setattr(module, "content_of", lambda env: Content(sources={"x": "edited"}))
    with pytest.raises(InputError, match="another version of their files than the run's"):
        setting.require_same(config())
