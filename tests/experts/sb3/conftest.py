import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest


def write_zip(path, data, state, compression=zipfile.ZIP_STORED):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({key: torch.as_tensor(value) for key, value in state.items()}, buffer)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", buffer.getvalue())
    return path


def linear(rng, num_in, num_out, name, bias=True):
    out = {f"{name}.weight": rng.normal(size=(num_out, num_in)).astype(np.float32)}
    return out | ({f"{name}.bias": rng.normal(size=num_out).astype(np.float32)} if bias else {})


def settings(env, **more):
    """The part of a zip's `data` that says its spaces, as Stable-Baselines3 writes it."""

    def space(value):
        size = {"n": str(value.n)} if hasattr(value, "n") else {"_shape": str(list(value.shape))}
        return {":type:": str(type(value)), ":serialized:": "gASVBQAAAAAAAABLAS4="} | size

    return {"observation_space": space(env.observation_space), "action_space": space(env.action_space)} | more


@pytest.fixture
def made():
    """Helpers to make a zip by hand."""
    return SimpleNamespace(write_zip=write_zip, linear=linear, settings=settings)
