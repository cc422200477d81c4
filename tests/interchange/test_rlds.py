"""`data/rlds` was made by tensorflow_datasets 4.9.10 with `rlds_real.py`; where it is importable, it makes it anew."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from distil.errors import InputError, RunError
from distil.interchange.rlds import RldsImport
from distil.interchange.tfrecord import make_example, parse_example, records, write_record
from distil.interchange.transfer import import_store
from distil.store import Snapshot

pytest.importorskip("google_crc32c", reason="needs pip install 'distil[rlds]'")
DATA = Path(__file__).parent / "data" / "rlds"
LENGTHS = (4, 1, 3)
WITH_TFDS = pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow_datasets"), reason="TensorFlow Datasets isn't installed"
)


def check_real(snapshot: Snapshot) -> None:
    """CORRECTNESS 1 and 2: the last step is an observation, and is_terminal tells terminated from truncated."""
    assert snapshot.spec.observation.describe() == "obs/image: Box(8, 10, 3) uint8, obs/state: Box(2) float32"
    found = {int(e.observations["obs/state"][0, 0] // 100): e for e in (snapshot.episode(i) for i in range(3))}
    for number, length in enumerate(LENGTHS):
        episode, at = found[number], np.arange(length + 1)
        np.testing.assert_array_equal(episode.observations["obs/state"], np.stack([100 * number + at, -at], 1))
        np.testing.assert_array_equal(episode.observations["obs/image"][:, 3, 4, 1], 40 * number + 5 * at)
        np.testing.assert_array_equal(episode.actions[:, 0], at[:-1])
        np.testing.assert_array_equal(episode.rewards, at[:-1])
        assert (episode.terminated, episode.truncated) == (number == 0, number > 0)


def test_what_tensorflow_datasets_made_is_read(tmp_path: Path) -> None:
    result = import_store(RldsImport(), DATA, tmp_path / "store")
    check_real(result.snapshot)
    assert result.findings == ()


@WITH_TFDS
@pytest.mark.filterwarnings("ignore")
def test_what_tensorflow_datasets_makes_now_is_read(tmp_path: Path) -> None:
    path = Path(__file__).parent / "rlds_real.py"
    spec = importlib.util.spec_from_file_location("rlds_real", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check_real(import_store(RldsImport(), module.make(tmp_path / "made"), tmp_path / "store").snapshot)


def test_texts_and_numbers_of_the_steps_can_be_kept(tmp_path: Path) -> None:
    options = RldsImport(infos=("language_instruction", "discount"))
    episode = import_store(options, DATA, tmp_path / "store").snapshot.episode(0)
    assert set(episode.infos or ()) == {'{"language_instruction": "push", "discount": 1.0}'}
    with pytest.raises(InputError, match="no key 'discounts' in its steps for infos; did you mean discount"):
        import_store(RldsImport(infos=("discounts",)), DATA, tmp_path / "other")


def test_a_last_step_with_a_valid_action_is_the_users_to_say(tmp_path: Path) -> None:
    options = RldsImport(observations=("observation/state",), last_step="transition", demonstrations=False)
    result = import_store(options, DATA, tmp_path / "store")
    assert sorted(result.snapshot.episodes.length) == [2, 4, 5]
    assert not result.snapshot.episode(0).labelled.any()
    assert len(result.findings) == 1
    with pytest.raises(InputError, match=r"no key 'observation/stat'; did you mean observation/state\?"):
        import_store(RldsImport(observations=("observation/stat",)), DATA, tmp_path / "other")
    with pytest.raises(InputError, match="no split 'test'; its splits are train"):
        import_store(RldsImport(split="test"), DATA, tmp_path / "other")


def test_what_the_last_step_holds_is_said_with_what_is_lost(tmp_path: Path) -> None:
    """CORRECTNESS 37: most public sets keep a valid action and the only reward in the step that RLDS calls invalid."""
    root = broken(tmp_path, "tail")
    result = import_store(RldsImport(), root, tmp_path / "store")
    said = [finding.what for finding in result.findings]
    assert "the last step holds an action in 0 and a reward in 2 of 3 episodes" in said[0]
    assert "returns lose 5 in all; last_step=transition keeps them" in said[0]
    assert "discount is 0 at the end of 1 episodes that aren't is_terminal" in said[1]
    kept = import_store(RldsImport(last_step="transition"), root, tmp_path / "kept")
    assert [f.what for f in kept.findings if "last step holds" in f.what] == []
    lost = result.snapshot.episodes.total_reward
    np.testing.assert_allclose(np.sort(kept.snapshot.episodes.total_reward - lost), [0, 2.5, 2.5])


def test_a_dropped_last_action_leaves_no_terminal_behind(tmp_path: Path) -> None:
    options = RldsImport(last_step="transition", final_observation="drop")
    episodes = import_store(options, DATA, tmp_path / "store").snapshot.episodes
    assert not episodes.terminated.any()
    assert episodes.truncated.all()


@pytest.mark.parametrize("where", ["steps/success", "episode_metadata/is_success"])
def test_success_is_kept(tmp_path: Path, where: str) -> None:
    root = broken(tmp_path, "none")
    file = next(root.glob("*.tfrecord-*"))
    examples = [parse_example(data) for data in records(file)]
    for number, example in enumerate(examples):
        example[where] = np.array([number == 1] * (len(example["steps/is_last"]) if where[0] == "s" else 1), np.int64)
    with open(file, "wb") as out:
        for example in examples:
            write_record(out, make_example(example))
    features = json.loads((root / "features.json").read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    steps["success"] = steps["is_last"]
    if where[0] == "s":
        (root / "features.json").write_text(json.dumps(features))
    snapshot = import_store(RldsImport(), root, tmp_path / "store").snapshot
    assert [snapshot.episode(i).success for i in range(3)] == [False, True, False]


def test_actions_of_several_keys_are_joined(tmp_path: Path) -> None:
    options = RldsImport(action=("observation/state", "action"), observations=("observation/image",))
    result = import_store(options, DATA, tmp_path / "store")
    assert "observation/state (2), action (3)" in result.findings[0].what
    episode, plain = result.snapshot.episode(0), import_store(RldsImport(), DATA, tmp_path / "plain").snapshot.episode(0)
    np.testing.assert_array_equal(episode.actions[:, 2:], plain.actions)
    np.testing.assert_array_equal(episode.actions[:, :2], plain.observations["obs/state"][:-1])


def broken(tmp_path: Path, fault: str) -> Path:
    root = tmp_path / "broken"
    shutil.copytree(DATA, root)
    file = next(root.glob("*.tfrecord-*"))
    examples = [parse_example(data) for data in records(file)]
    if fault == "nan":
        examples[1]["steps/observation/state"] = np.full(examples[1]["steps/observation/state"].shape, np.nan, np.float32)
    elif fault == "last":
        examples[1]["steps/is_last"] = np.ones(len(examples[1]["steps/is_last"]), np.int64)
    elif fault == "gone":
        del examples[1]["steps/action"]
    elif fault == "first":
        examples[1]["steps/is_first"] = np.zeros(len(examples[1]["steps/is_first"]), np.int64)
    elif fault == "end":
        for name in ("is_last", "is_terminal"):
            examples[1][f"steps/{name}"] = np.eye(len(examples[1]["steps/is_last"]), dtype=np.int64)[-1] * (
                name == "is_terminal"
            )
    elif fault == "lengths":
        examples[1]["steps/reward"] = np.zeros(9, np.float32)
    elif fault == "empty":
        examples[1] = {name: values[:0] for name, values in examples[1].items()}
    elif fault == "tail":
        for example in examples[:2]:
            example["steps/reward"] = np.asarray(example["steps/reward"]).copy()
            example["steps/reward"][-1] = 2.5
        example["steps/discount"] = np.zeros(len(example["steps/is_last"]), np.float32)
        example["steps/is_terminal"] = np.zeros(len(example["steps/is_last"]), np.int64)
    elif fault == "image":
        examples[1]["steps/observation/image"] = [b"no" for _ in examples[1]["steps/observation/image"]]
    with open(file, "wb") as out:
        for example in examples:
            write_record(out, make_example(example))
    return root


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("nan", r"episode 1, step 0: obs/state is NaN"),
        ("last", r"tfrecord-00000-of-00001: episode 1, step 0: is_last before its last step"),
        ("image", r"episode 1, step 0: observation/image can't be read"),
        ("gone", r"episode 1: has no action"),
        ("first", r"episode 1, step 0: its first step isn't is_first"),
        ("end", r"episode 1, step 1: is_terminal, but not is_last"),
        ("lengths", r"episode 1: has 9 reward for 2 steps"),
        ("empty", r"episode 1: observation/image: its images are of different sizes, or there are none"),
    ],
)
def test_bad_rows_are_named_and_skipped_only_when_asked(tmp_path: Path, fault: str, what: str) -> None:
    root = broken(tmp_path, fault)
    with pytest.raises(RunError, match=what):
        import_store(RldsImport(), root, tmp_path / "one")
    result = import_store(RldsImport(), root, tmp_path / "two", skip_bad=True)
    assert (result.snapshot.num_episodes, result.num_skipped) == (2, 1)


def test_a_flipped_bit_and_a_missing_part_are_said(tmp_path: Path) -> None:
    root = broken(tmp_path, "none")
    check_real(import_store(RldsImport(), root, tmp_path / "good").snapshot)
    file = next(root.glob("*.tfrecord-*"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(RunError, match=r"small-train.tfrecord-00000-of-00001: record 1 is damaged"):
        import_store(RldsImport(), root, tmp_path / "store", skip_bad=True)
    (root / "features.json").unlink()
    with pytest.raises(InputError, match=r"no features.json"):
        import_store(RldsImport(), root, tmp_path / "store")


def test_arrays_of_an_open_shape_are_left_out_by_name(tmp_path: Path) -> None:
    root = broken(tmp_path, "none")
    features = json.loads((root / "features.json").read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    steps["observation"]["featuresDict"]["features"]["points"] = {
        "tensor": {"dtype": "float32", "shape": {"dimensions": ["-1"]}}
    }
    (root / "features.json").write_text(json.dumps(features))
    result = import_store(RldsImport(), root, tmp_path / "store")
    assert any("left out, as only numbers are read: observation/points" in finding.what for finding in result.findings)


def test_a_key_that_no_episode_can_give_is_the_fault(tmp_path: Path) -> None:
    root = broken(tmp_path, "none")
    features = json.loads((root / "features.json").read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    steps["action"]["tensor"]["shape"]["dimensions"] = ["7"]
    (root / "features.json").write_text(json.dumps(features))
    with pytest.raises(RunError, match=r"tfrecord.*: episode 0: action isn't float32 \[7\] a step"):
        import_store(RldsImport(), root, tmp_path / "store")
