from pathlib import Path

import pytest

from distil.errors import InputError
from distil.rewards.given_config import GivenConfig


def test_a_given_reward_is_pinned_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "run" / "reward").mkdir(parents=True)
    file = tmp_path / "run" / "reward" / "reward.safetensors"
    file.write_bytes(b"1")
    given = GivenConfig(path=str(tmp_path / "run"))
    pinned = given.pinned()
    assert pinned.digest
    assert pinned.pinned() == pinned
    assert GivenConfig(path=str(tmp_path / "run" / "reward"), digest=pinned.digest).pinned().file == file
    file.write_bytes(b"2")
    with pytest.raises(InputError, match="the reward is not the one that the run began with"):
        pinned.pinned()
    with pytest.raises(InputError, match=r"nowhere: no reward there; give the folder of a run that learned one"):
        GivenConfig(path=str(tmp_path / "nowhere")).pinned()


def test_a_given_reward_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert GivenConfig(path="run").absolute().path == str(tmp_path / "run")
