"""What a seed promises beyond one machine: scripted experts collect the same episodes with every BLAS kernel."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

KERNELS = {"x86_64": ("Haswell", "Prescott"), "AMD64": ("Haswell", "Prescott"), "aarch64": ("NEOVERSEN1", "ARMV8")}
SETTINGS = [
    ("CartPole-v1", {}),
    ("CartPole-v1", {"data.noise.kind": "epsilon"}),
    ("Pendulum-v1", {}),
    ("Pendulum-v1", {"data.noise.kind": "gaussian"}),
    ("MountainCarContinuous-v0", {}),
    ("LunarLander-v3", {}),
    ("LunarLander-v3", {"env.kwargs.continuous": True}),
]
COLLECT = f"""
import warnings
warnings.simplefilter("ignore")
import distil
import numpy as np
matrix = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
print("matmul", hash((matrix @ matrix).tobytes()))
for number, (env, changes) in enumerate({SETTINGS!r}):
    base = {{"env.id": env, "data.episodes": 3, "data.path": f"demos{{number}}", "rollouts.num_workers": 0, "seed": 7}}
    print(env, changes, distil.collect("cartpole-bc", base | changes).snapshot().digest)
"""


def collected(kernel, folder):
    """Return what a process of its own prints."""
    folder.mkdir()
    env = os.environ | {"OPENBLAS_CORETYPE": kernel, "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-c", COLLECT], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(platform.machine() not in KERNELS, reason="no two OpenBLAS kernels are known for this processor")
def test_scripted_experts_give_the_same_episodes_on_two_blas_kernels(tmp_path):
    kernels = KERNELS[platform.machine()]
    with ThreadPoolExecutor() as pool:
        (product, *one), (other_product, *other) = pool.map(collected, kernels, [tmp_path / kernel for kernel in kernels])
    if product == other_product:
        pytest.skip("OPENBLAS_CORETYPE changes nothing: this numpy multiplies matrices with another library")
    assert one == other
    assert len({line.rpartition(" ")[2] for line in one}) == len(SETTINGS)
