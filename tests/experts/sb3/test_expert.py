"""Our actions against Stable-Baselines3's own predict(), or, where that needs sb3-contrib, against torch on weights by hand."""

import itertools
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.sb3.expert import Sb3Expert
from distil.experts.sb3.layout import read_layout
from distil.spaces import action_spec, observation_spec

torch = pytest.importorskip("torch")
nn = torch.nn


class Env(gym.Env):
    """Spaces to try: observations are drawn from their own space."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


VECTOR = spaces.Box(-9, 9, (3,), np.float32)
BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 7], np.float32))
TREE = spaces.Dict(b=VECTOR, a=spaces.Discrete(4), c=spaces.MultiBinary(2), d=spaces.Box(-1, 1, (2, 2), np.float32))


def spec_of(env, steps=None):
    obs, action = observation_spec(env.observation_space), action_spec(env.action_space)
    return EnvSpec(name="x", observation=obs, action=action, max_episode_steps=steps, reward_threshold=None)


def build(path, env, steps=None, **config):
    return Sb3ExpertConfig(path=str(path), **config).build(GymEnvConfig(id="x"), spec_of(env, steps))


def batch(space, num=32):
    space.seed(1)
    samples = [space.sample() for _ in range(num)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    return np.stack(samples)


CASES = {
    "ppo box": ("PPO", VECTOR, BOX, {}),
    "ppo relu": ("PPO", VECTOR, BOX, {"policy_kwargs": {"activation_fn": nn.ReLU, "net_arch": [8]}}),
    "ppo linear": ("PPO", VECTOR, BOX, {"policy_kwargs": {"net_arch": []}}),
    "ppo separate": ("PPO", VECTOR, BOX, {"policy_kwargs": {"net_arch": {"pi": [8, 4], "vf": [5]}, "activation_fn": nn.ELU}}),
    "ppo sde": ("PPO", VECTOR, BOX, {"use_sde": True}),
    "ppo sde squashed": ("PPO", VECTOR, BOX, {"use_sde": True, "policy_kwargs": {"squash_output": True}}),
    "ppo discrete": ("PPO", VECTOR, spaces.Discrete(5), {}),
    "a2c multi_discrete": ("A2C", VECTOR, spaces.MultiDiscrete([3, 2, 4]), {}),
    "a2c multi_binary": ("A2C", VECTOR, spaces.MultiBinary(3), {}),
    "a2c one-hot": ("A2C", spaces.Discrete(6), spaces.Discrete(3), {}),
    "a2c factors": ("A2C", spaces.MultiDiscrete([2, 3]), spaces.Discrete(3), {}),
    "ppo dict": ("PPO", TREE, BOX, {}),
    "sac": ("SAC", VECTOR, BOX, {"policy_kwargs": {"net_arch": [16, 8]}}),
    "sac sde": ("SAC", VECTOR, BOX, {"use_sde": True, "policy_kwargs": {"net_arch": [16]}}),
    "sac sde clip": ("SAC", VECTOR, BOX, {"use_sde": True, "policy_kwargs": {"net_arch": [16], "clip_mean": 0.1}}),
    "sac sde unclipped": ("SAC", VECTOR, BOX, {"use_sde": True, "policy_kwargs": {"net_arch": [16], "clip_mean": 0.0}}),
    "td3": ("TD3", VECTOR, BOX, {"policy_kwargs": {"net_arch": [16, 8], "activation_fn": nn.Tanh}}),
    "ddpg": ("DDPG", VECTOR, BOX, {"policy_kwargs": {"net_arch": [16, 8]}}),
    "dqn": ("DQN", VECTOR, spaces.Discrete(4), {}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:You are trying to run PPO on the GPU")
def test_equals_stable_baselines3(tmp_path, case):
    sb3 = pytest.importorskip("stable_baselines3", reason="the sb3 extra isn't installed")
    algo, observation, action, kwargs = CASES[case]
    env = Env(observation, action)
    kind = "MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy"
    if algo in ("SAC", "TD3", "DDPG", "DQN"):
        kwargs = kwargs | {"buffer_size": 10}
    model = getattr(sb3, algo)(kind, env, seed=0, device="cpu", **kwargs)
    with torch.no_grad():
        for parameter in model.policy.parameters():  # as they start, actions are near zero
            parameter.mul_(3).add_(0.1 * torch.randn(parameter.shape))
    model.save(tmp_path / "m.zip")
    expert = build(tmp_path / "m.zip", env)
    assert expert.name.startswith(f"sb3 {'td3' if algo == 'DDPG' else algo.lower()} ")
    obs = batch(observation)
    theirs, _ = model.predict(obs, deterministic=True)
    labels = expert.act(spec_of(env).observation.flatten(obs))
    assert labels.actions.dtype == action.dtype
    np.testing.assert_allclose(labels.actions, theirs, atol=1e-5)
    assert len(np.unique(labels.actions)) > 1


def hidden(made, rng, prefix, sizes, bias=True):
    out = {}
    for index, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        out |= made.linear(rng, num_in, num_out, f"{prefix}.{2 * index}", bias)
    return out


def forward(state, names, x, act):
    for i, name in enumerate(names):
        bias = state.get(f"{name}.bias")
        x = nn.functional.linear(x, torch.as_tensor(state[f"{name}.weight"]), None if bias is None else torch.as_tensor(bias))
        x = act(x) if i < len(names) - 1 else x
    return x


def scaled(squashed):
    low, high = torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)
    return low + 0.5 * (squashed + 1) * (high - low)


OBS = np.random.default_rng(5).normal(size=(32, 3)).astype(np.float32)
X = torch.from_numpy(OBS)
RNG = np.random.default_rng(0)


def check(made, tmp_path, state, action, want, name, **data):
    env = Env(VECTOR, action)
    path = made.write_zip(tmp_path / "m.zip", made.settings(env, **data), state)
    expert = build(path, env)
    assert expert.name == f"sb3 {name} m.zip"
    np.testing.assert_allclose(expert.act({"obs": OBS}).actions, want, atol=1e-5)


def test_trpo(made, tmp_path):
    state = hidden(made, RNG, "mlp_extractor.policy_net", [3, 8, 8]) | made.linear(RNG, 8, 2, "action_net")
    state |= {"log_std": np.zeros(2, np.float32)} | made.linear(RNG, 8, 1, "value_net")
    out = forward(state, ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"], X, torch.tanh)
    want = torch.clip(out, torch.as_tensor(BOX.low), torch.as_tensor(BOX.high))
    check(made, tmp_path, state, BOX, want, "trpo", cg_max_steps=15)


def test_an_old_shared_trunk(made, tmp_path):
    state = hidden(made, RNG, "mlp_extractor.shared_net", [3, 8]) | hidden(made, RNG, "mlp_extractor.policy_net", [8, 4])
    state |= made.linear(RNG, 4, 3, "action_net")
    names = ["mlp_extractor.shared_net.0", "mlp_extractor.policy_net.0", "action_net"]
    want = forward(state, names, X, torch.tanh).argmax(1)
    check(made, tmp_path, state, spaces.Discrete(3), want, "ppo", clip_range=0.2)


def test_tqc(made, tmp_path):
    state = hidden(made, RNG, "actor.latent_pi", [3, 8, 8]) | made.linear(RNG, 8, 2, "actor.mu")
    state |= made.linear(RNG, 8, 2, "actor.log_std")
    out = forward(state, ["actor.latent_pi.0", "actor.latent_pi.2", "actor.mu"], X, torch.relu)
    check(made, tmp_path, state, BOX, scaled(torch.tanh(out)), "tqc", top_quantiles_to_drop_per_net=2)


def test_qrdqn(made, tmp_path):
    state = hidden(made, RNG, "quantile_net.quantile_net", [3, 8, 4 * 10])
    out = forward(state, ["quantile_net.quantile_net.0", "quantile_net.quantile_net.2"], X, torch.relu)
    want = out.view(-1, 10, 4).mean(1).argmax(1)
    assert len(torch.unique(want)) > 1
    check(made, tmp_path, state, spaces.Discrete(4), want, "qrdqn", policy_kwargs={"n_quantiles": 10})


def test_ars(made, tmp_path):
    linear = hidden(made, RNG, "action_net", [3, 2], bias=False)
    out = forward(linear, ["action_net.0"], X, torch.relu)
    check(made, tmp_path, linear, BOX, torch.clip(out, torch.as_tensor(BOX.low), torch.as_tensor(BOX.high)), "ars")
    deep = hidden(made, RNG, "action_net", [3, 8, 2])
    out = forward(deep, ["action_net.0", "action_net.2"], X, torch.relu)
    check(made, tmp_path, deep, BOX, scaled(torch.tanh(out)), "ars")
    best = hidden(made, RNG, "action_net", [3, 8, 3])
    want = forward(best, ["action_net.0", "action_net.2"], X, torch.relu).argmax(1)
    check(made, tmp_path, best, spaces.Discrete(3), want, "ars")


def test_time_feature_counts_each_slots_own_steps(made, tmp_path):
    state = {"action_net.0.weight": np.array([[0, 0, 0, 1], [0, 0, 1, 0]], np.float32)}  # the time, and the last observation
    env = Env(VECTOR, BOX)
    seen = Env(spaces.Box(-9, 9, (4,), np.float32), BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(seen), state)
    (tmp_path / "config.yml").write_text("env_wrapper: sb3_contrib.common.wrappers.TimeFeatureWrapper\n")
    expert = build(path, env, steps=10)
    assert expert.stateful
    obs = {"obs": np.ones((3, 3), np.float32)}
    clocks = []
    for step in range(4):
        if step in (0, 2):
            expert.begin(0, 1)
        if step == 0:
            expert.begin(1, 2)
        clocks.append(expert.act(obs).actions[:, 0])
    np.testing.assert_allclose(np.array(clocks)[:, :2], [[1, 1], [0.9, 0.9], [1, 0.8], [0.9, 0.7]], atol=1e-6)
    on = build(path, env, steps=None, time_feature="on")
    on.begin(0, 0)
    on.act(obs)
    np.testing.assert_allclose(on.act(obs).actions[0, 0], 0.999, atol=1e-6)


def test_answers_are_the_callers(made, tmp_path):
    env = Env(VECTOR, BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(env), hidden(made, RNG, "action_net", [3, 2], bias=False))
    spec, layout = spec_of(env), read_layout(read_archive(path))
    expert = Sb3Expert("x", layout, spec.observation, spec.action.leaf)
    first = expert.act({"obs": OBS}).actions
    copy = first.copy()
    expert.act({"obs": -OBS})
    np.testing.assert_array_equal(first, copy)


def test_a_built_expert_acts_without_torch(made, tmp_path):
    env = Env(VECTOR, BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(env), hidden(made, RNG, "action_net", [3, 8, 2]))
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(build(path, env)))
    code = (
        "import pickle, sys, numpy as np; e = pickle.load(open(sys.argv[1], 'rb')); "
        "e.act({'obs': np.zeros((2, 3))}); assert not {'torch', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "e.pkl")], check=True)
