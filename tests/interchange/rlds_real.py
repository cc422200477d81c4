"""A small dataset made by TensorFlow Datasets itself: run where it is installed to renew tests/interchange/data/rlds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (4, 1, 3)


def make(root: Path) -> Path:
    """Prepare the dataset below `root`, and return the folder of its version."""
    root.mkdir(parents=True, exist_ok=True)
    import tensorflow_datasets as tfds

    tensor = tfds.features.Tensor
    step = {
        "observation": {
            "image": tfds.features.Image(shape=(8, 10, 3), encoding_format="png"),
            "state": tensor(shape=(2,), dtype=np.float32),
        },
        "action": tensor(shape=(3,), dtype=np.float32),
        "reward": np.float32,
        "discount": np.float32,
        "is_first": np.bool_,
        "is_last": np.bool_,
        "is_terminal": np.bool_,
        "language_instruction": tfds.features.Text(),
    }

    class Small(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = root

        def _info(self) -> Any:
            episode = {"steps": tfds.features.Dataset(step), "episode_metadata": {"file_path": tfds.features.Text()}}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(episode))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for number, length in enumerate(LENGTHS):
                steps = [make_step(number, at, length) for at in range(length + 1)]
                yield number, {"steps": steps, "episode_metadata": {"file_path": f"e{number}"}}

    Small(data_dir=root).download_and_prepare()
    return root / "small" / "1.0.0"


def make_step(number: int, at: int, length: int) -> dict[str, Any]:
    last = at == length
    return {
        "observation": {
            "image": np.full((8, 10, 3), 40 * number + 5 * at, np.uint8),
            "state": np.array([100 * number + at, -at], np.float32),
        },
        "action": np.array([at, number, 0.5], np.float32) * (not last),
        "reward": np.float32(0 if last else at),
        "discount": np.float32(1),
        "is_first": at == 0,
        "is_last": last,
        "is_terminal": last and number == 0,
        "language_instruction": "push",
    }


if __name__ == "__main__":
    make(Path(sys.argv[1]))
