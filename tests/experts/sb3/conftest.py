import base64
import io
import json
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

POLICIES = {
    "ppo": "stable_baselines3.common.policies.ActorCriticPolicy",
    "sac": "stable_baselines3.sac.policies.SACPolicy",
    "td3": "stable_baselines3.td3.policies.TD3Policy",
    "dqn": "stable_baselines3.dqn.policies.DQNPolicy",
    "tqc": "sb3_contrib.tqc.policies.TQCPolicy",
    "qrdqn": "sb3_contrib.qrdqn.policies.QRDQNPolicy",
    "ars": "sb3_contrib.ars.policies.ARSPolicy",
    "linear ars": "sb3_contrib.ars.policies.ARSLinearPolicy",
}


def write_zip(path, data, state, compression=zipfile.ZIP_STORED, version="2.9.2", **torch_options):
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({key: torch.as_tensor(value) for key, value in state.items()}, buffer, **torch_options)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", buffer.getvalue())
        archive.writestr("_stable_baselines3_version", version)
    return path


def linear(rng, num_in, num_out, name, bias=True):
    out = {f"{name}.weight": rng.normal(size=(num_out, num_in)).astype(np.float32)}
    return out | ({f"{name}.bias": rng.normal(size=num_out).astype(np.float32)} if bias else {})


def serialized(data, **shown):
    return {":type:": "<class 'x'>", ":serialized:": base64.b64encode(data).decode(), **shown}


def class_entry(full):
    """A class in a zip's `data`, as Stable-Baselines3 writes it: pickled by name."""
    module, _, name = full.rpartition(".")
    return serialized(f"c{module}\n{name}\n.".encode(), __module__=module, __init__=f"<function {name}.__init__ at 0x7f>")


def settings(env, policy="ppo", **more):
    """A zip's `data`, as Stable-Baselines3 writes it; `policy` is a key of POLICIES or a class."""
    spaces = {key: serialized(pickle.dumps(getattr(env, key), 4)) for key in ("observation_space", "action_space")}
    return spaces | {"policy_class": class_entry(POLICIES.get(policy, policy)), "policy_kwargs": {}, "use_sde": False} | more


@pytest.fixture
def made():
    """Helpers to make a zip by hand."""
    return SimpleNamespace(
        write_zip=write_zip, linear=linear, settings=settings, serialized=serialized, class_entry=class_entry
    )
