"""Actions compared with Stable-Baselines3's predict(), or, where that needs sb3-contrib, with torch on hand-made weights."""

import itertools
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from distil.envs import EnvSpec, GymEnvConfig
from distil.errors import InputError
from distil.experts.sb3.architecture import read_architecture
from distil.experts.sb3.archive import read_archive
from distil.experts.sb3.config import Sb3ExpertConfig
from distil.experts.sb3.expert import Sb3Expert
from distil.spaces import action_spec, observation_spec

torch = pytest.importorskip("torch")
FlattenExtractor = pytest.importorskip(
    "stable_baselines3.common.torch_layers", reason="the sb3 extra isn't installed"
).FlattenExtractor
nn = torch.nn


class Env(gym.Env):
    """Spaces to test: observations are drawn from their own space."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


VECTOR = spaces.Box(-9, 9, (3,), np.float32)
BOX = spaces.Box(np.array([-2, 0], np.float32), np.array([2, 7], np.float32))
UNSORTED = spaces.Dict([("z", VECTOR), ("a", spaces.Discrete(4)), ("m", spaces.Box(-1, 1, (2,), np.float64))])
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
    "ppo leaky": ("PPO", VECTOR, BOX, {"policy_kwargs": {"activation_fn": nn.LeakyReLU, "ortho_init": False}}),
    "ppo extractors apart": ("PPO", TREE, BOX, {"policy_kwargs": {"share_features_extractor": False}}),
    "ppo sde kwargs": ("PPO", VECTOR, BOX, {"use_sde": True, "policy_kwargs": {"use_expln": True, "full_std": False}}),
    "ppo order of keys": ("PPO", UNSORTED, BOX, {}),
    "a2c multi_binary seen": ("A2C", spaces.MultiBinary((2, 3)), spaces.Discrete(3), {}),
    "sac dict": ("SAC", TREE, BOX, {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [4]}, "share_features_extractor": True}}),
    "sac linear": ("SAC", VECTOR, BOX, {"policy_kwargs": {"net_arch": [], "log_std_init": -1.0}}),
    "sac array of actions": ("SAC", VECTOR, spaces.Box(-3, 5, (2, 2), np.float32), {}),
    "td3 critics": ("TD3", TREE, BOX, {"policy_kwargs": {"n_critics": 3, "net_arch": []}}),
    "dqn linear": ("DQN", spaces.Discrete(5), spaces.Discrete(4), {"policy_kwargs": {"net_arch": []}}),
    "dqn extractor": ("DQN", VECTOR, spaces.Discrete(4), {"policy_kwargs": {"features_extractor_class": FlattenExtractor}}),
    "trpo": ("TRPO", VECTOR, BOX, {}),
    "tqc": ("TQC", TREE, BOX, {"policy_kwargs": {"n_quantiles": 5, "n_critics": 1}}),
    "tqc sde": ("TQC", VECTOR, BOX, {"use_sde": True}),
    "qrdqn": ("QRDQN", VECTOR, spaces.Discrete(4), {"policy_kwargs": {"n_quantiles": 7}}),
    "qrdqn default": ("QRDQN", TREE, spaces.Discrete(4), {}),
    "ars": ("ARS", VECTOR, BOX, {}),
    "ars clipped": (
        "ARS",
        VECTOR,
        BOX,
        {"policy_kwargs": {"squash_output": False, "with_bias": False, "activation_fn": nn.Tanh}},
    ),
    "ars no hidden layer": ("ARS", VECTOR, BOX, {"policy_kwargs": {"net_arch": []}}),
    "ars discrete": ("ARS", VECTOR, spaces.Discrete(9), {"policy_kwargs": {"net_arch": [16]}}),
    "linear ars": ("ARS", VECTOR, BOX, {}),
    "linear ars squashed": ("ARS", VECTOR, BOX, {"policy_kwargs": {"squash_output": True, "with_bias": True}}),
    "linear ars discrete": ("ARS", VECTOR, spaces.Discrete(3), {}),
}


def trained(case, path):
    """Save a policy of random weights as Stable-Baselines3 (or sb3-contrib) does, and return the model and its environment."""
    algo, observation, action, kwargs = CASES[case]
    library = "sb3_contrib" if algo in ("TRPO", "TQC", "QRDQN", "ARS") else "stable_baselines3"
    sb3 = pytest.importorskip(library, reason=f"{library} isn't installed")
    env = Env(observation, action)
    kind = "MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy"
    if algo in ("SAC", "TD3", "DDPG", "DQN", "TQC", "QRDQN"):
        kwargs = kwargs | {"buffer_size": 10}
    kind = "LinearPolicy" if case.startswith("linear ars") else kind
    model = getattr(sb3, algo)(kind, env, seed=0, device="cpu", **kwargs)
    with torch.no_grad():
        for parameter in model.policy.parameters():  # as they start, actions are near zero
            parameter.mul_(3).add_(0.1 * torch.randn(parameter.shape))
    model.save(path)
    return model, env


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:You are trying to run")
@pytest.mark.filterwarnings("ignore:.*replay buffer.*")
def test_equals_stable_baselines3(tmp_path, case):
    model, env = trained(case, tmp_path / "m.zip")
    expert = build(tmp_path / "m.zip", env)
    algo = CASES[case][0].lower()
    assert expert.name.startswith(f"sb3 {'td3' if algo == 'ddpg' else algo} ")
    obs = batch(env.observation_space)
    theirs, _ = model.predict(obs, deterministic=True)
    labels = expert.act(spec_of(env).observation.flatten(obs))
    assert labels.actions.dtype == env.action_space.dtype
    np.testing.assert_allclose(labels.actions, theirs, atol=1e-4)
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


def check(made, tmp_path, state, action, want, name, policy="ppo", version="2.9.2", observation=VECTOR, **data):
    env = Env(observation, action)
    path = made.write_zip(tmp_path / "m.zip", made.settings(env, policy, **data), state, version=version)
    expert = build(path, env)
    assert expert.name == f"sb3 {name} m.zip"
    np.testing.assert_allclose(expert.act({"obs": OBS}).actions, want, atol=1e-5)


def clipped(out):
    return torch.clip(out, torch.as_tensor(BOX.low), torch.as_tensor(BOX.high))


def test_trpo(made, tmp_path):
    state = hidden(made, RNG, "mlp_extractor.policy_net", [3, 8, 8]) | made.linear(RNG, 8, 2, "action_net")
    state |= {"log_std": np.zeros(2, np.float32)} | made.linear(RNG, 8, 1, "value_net")
    out = forward(state, ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"], X, torch.tanh)
    check(made, tmp_path, state, BOX, clipped(out), "trpo", cg_max_steps=15)


def test_an_old_shared_trunk(made, tmp_path):
    state = hidden(made, RNG, "mlp_extractor.shared_net", [3, 8]) | hidden(made, RNG, "mlp_extractor.policy_net", [8, 4])
    state |= made.linear(RNG, 4, 3, "action_net")
    names = ["mlp_extractor.shared_net.0", "mlp_extractor.policy_net.0", "action_net"]
    want = forward(state, names, X, torch.tanh).argmax(1)
    arch = {"net_arch": [8, {"pi": [4], "vf": [5]}]}
    check(made, tmp_path, state, spaces.Discrete(3), want, "ppo", clip_range=0.2, policy_kwargs=arch)


@pytest.mark.parametrize("sde", [False, True])
def test_tqc(made, tmp_path, sde):
    mu = "actor.mu.0" if sde else "actor.mu"
    state = hidden(made, RNG, "actor.latent_pi", [3, 8, 8]) | made.linear(RNG, 8, 2, mu)
    state |= {"actor.log_std": np.zeros((8, 2))} if sde else made.linear(RNG, 8, 2, "actor.log_std")
    state |= hidden(made, RNG, "critic.qf0", [5, 8, 25]) | hidden(made, RNG, "critic_target.qf0", [5, 8, 25])
    out = forward(state, ["actor.latent_pi.0", "actor.latent_pi.2", mu], X, torch.relu)
    want = scaled(torch.tanh(out.clip(-2, 2) if sde else out))
    check(made, tmp_path, state, BOX, want, "tqc", "tqc", policy_kwargs={"use_sde": sde, "n_critics": 1})


def test_qrdqn(made, tmp_path):
    state = hidden(made, RNG, "quantile_net.quantile_net", [3, 8, 4 * 10])
    state |= hidden(made, RNG, "quantile_net_target.quantile_net", [3, 8, 4 * 10])
    out = forward(state, ["quantile_net.quantile_net.0", "quantile_net.quantile_net.2"], X, torch.relu)
    want = out.view(-1, 10, 4).mean(1).argmax(1)
    assert len(torch.unique(want)) > 1
    check(made, tmp_path, state, spaces.Discrete(4), want, "qrdqn", "qrdqn", policy_kwargs={"n_quantiles": 10})


@pytest.mark.parametrize(
    ("layer", "version"), [("action_net.0", "2.9.2"), ("action_net", "1.5.1a8")], ids=["today's", "before sb3-contrib 1.7"]
)
def test_linear_ars(made, tmp_path, layer, version):
    for bias, squash in ((False, False), (True, True)):
        state = made.linear(RNG, 3, 2, layer, bias=bias)
        layer = layer if version[0] == "2" else "action_net.0" if squash else "action_net"
        state = made.linear(RNG, 3, 2, layer, bias=bias)
        out = forward(state, [layer], X, None)
        kwargs = {"squash_output": True, "with_bias": True} if squash else {}
        want = scaled(torch.tanh(out)) if squash else clipped(out)
        check(made, tmp_path, state, BOX, want, "ars", "linear ars", version, policy_kwargs=kwargs)
    state = made.linear(RNG, 3, 4, layer, bias=False)
    want = forward(state, [layer], X, None).argmax(1)
    check(made, tmp_path, state, spaces.Discrete(4), want, "ars", "linear ars", version)


def test_ars_with_hidden_layers(made, tmp_path):
    deep = hidden(made, RNG, "action_net", [3, 8, 2])
    out = forward(deep, ["action_net.0", "action_net.2"], X, torch.relu)
    check(made, tmp_path, deep, BOX, scaled(torch.tanh(out)), "ars", "ars")
    check(made, tmp_path, deep, BOX, clipped(out), "ars", "ars", policy_kwargs={"squash_output": False})
    with pytest.raises(InputError, match=r"ARS with squash_output=False of sb3-contrib < 1.7 squashed actions anyway"):
        check(made, tmp_path, deep, BOX, out, "ars", "ars", "1.6.2", policy_kwargs={"squash_output": False})
    best = hidden(made, RNG, "action_net", [3, 8, 3])
    want = forward(best, ["action_net.0", "action_net.2"], X, torch.relu).argmax(1)
    check(made, tmp_path, best, spaces.Discrete(3), want, "ars", "ars")


def goals(extra=0):
    """Spaces of an environment with goals."""
    point = spaces.Box(-9, 9, (3,), np.float32)
    return spaces.Dict(achieved_goal=point, desired_goal=point, observation=spaces.Box(-9, 9, (10 + extra,), np.float32))


def test_her_before_dict_observations(made, tmp_path):
    """The network takes the observation and the desired goal, 13 of 16 numbers; the statistics cover all keys."""
    state = hidden(made, RNG, "actor.latent_pi", [13, 8]) | made.linear(RNG, 8, 2, "actor.mu")
    seen = Env(spaces.Box(-9, 9, (13,), np.float32), BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(seen, "sac", model_class="SAC"), state)
    obs = batch(goals())
    x = torch.as_tensor(np.concatenate([obs["observation"], obs["desired_goal"]], axis=1))
    want = scaled(torch.tanh(forward(state, ["actor.latent_pi.0", "actor.mu"], x, torch.relu)))
    expert = build(path, Env(goals(), BOX))
    np.testing.assert_allclose(expert.act(spec_of(Env(goals(), BOX)).observation.flatten(obs)).actions, want, atol=1e-5)
    new = made.write_zip(tmp_path / "n.zip", made.settings(seen, "sac"), state)
    with pytest.raises(InputError, match=r"made for observations Box\(13\).*\(13 network inputs\).*\(16 network inputs\)"):
        build(new, Env(goals(), BOX))


def test_the_time_feature_of_an_environment_with_goals(made, tmp_path):
    state = {"action_net.0.weight": np.eye(17)[[16, 3]].astype(np.float32)}  # the time, and the first of desired_goal
    path = made.write_zip(tmp_path / "m.zip", made.settings(Env(goals(extra=1), BOX), "linear ars"), state)
    env = Env(goals(), BOX)
    with pytest.raises(InputError, match=r"or set expert.time_feature=on"):
        build(path, env)
    expert = build(path, env, steps=10, time_feature="on")
    obs = spec_of(env).observation.flatten(batch(goals(), 2))
    expert.begin(0, 0)
    expert.act(obs)
    actions = expert.act(obs).actions
    np.testing.assert_allclose(actions[0], [0.9, max(0, obs["obs/desired_goal"][0, 0])], atol=1e-6)


def test_time_feature_counts_each_slots_own_steps(made, tmp_path):
    state = {"action_net.0.weight": np.array([[0, 0, 0, 1], [0, 0, 1, 0]], np.float32)}  # the time, and the last observation
    env = Env(VECTOR, BOX)
    seen = Env(spaces.Box(-9, 9, (4,), np.float32), BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(seen, "linear ars"), state)
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


@pytest.mark.parametrize(
    ("env_id", "steps", "setting", "limit"),
    [("CartPole-v1", 40, "", 500), ("x", 40, "", 40), ("x", None, ": {max_steps: 20}", 20), ("x", None, "", 1000)],
    ids=["registered", "the run's", "the wrapper's", "default"],
)
def test_the_time_feature_counts_the_steps_of_the_training(made, tmp_path, env_id, steps, setting, limit):
    """A shorter time limit of the run does not change the rate of the time feature."""
    state = {"action_net.0.weight": np.array([[0, 0, 0, 1], [0, 0, 1, 0]], np.float32)}
    seen = Env(spaces.Box(-9, 9, (4,), np.float32), BOX)
    path = made.write_zip(tmp_path / "m.zip", made.settings(seen, "linear ars"), state)
    (tmp_path / "config.yml").write_text(f"env_wrapper:\n- sb3_contrib.common.wrappers.TimeFeatureWrapper{setting}\n")
    spec = spec_of(Env(VECTOR, BOX), steps)
    expert = Sb3ExpertConfig(path=str(path)).build(GymEnvConfig(id=env_id), spec)
    expert.begin(0, 0)
    expert.act({"obs": np.ones((1, 3))})
    np.testing.assert_allclose(expert.act({"obs": np.ones((1, 3))}).actions[0, 0], 1 - 1 / limit, atol=1e-6)
    (tmp_path / "config.yml").write_text("env_wrapper: [{TimeFeatureWrapper: {test_mode: true}}]\n")
    with pytest.raises(InputError, match=r"its time feature was always 0 \(test_mode\)"):
        Sb3ExpertConfig(path=str(path)).build(GymEnvConfig(id=env_id), spec)


def test_answers_are_the_callers(made, tmp_path):
    env = Env(VECTOR, BOX)
    path = made.write_zip(
        tmp_path / "m.zip", made.settings(env, "linear ars"), hidden(made, RNG, "action_net", [3, 2], bias=False)
    )
    spec, architecture = spec_of(env), read_architecture(read_archive(path))
    expert = Sb3Expert("x", architecture, spec.observation.leaves, spec.action.leaf)
    first = expert.act({"obs": OBS}).actions
    copy = first.copy()
    expert.act({"obs": -OBS})
    np.testing.assert_array_equal(first, copy)


def test_building_and_acting_need_no_torch(made, tmp_path):
    made.write_zip(
        tmp_path / "CartPole-v1.zip", made.settings(gym.make("CartPole-v1"), "ars"), hidden(made, RNG, "action_net", [4, 8, 2])
    )
    code = (
        "import sys, numpy as np; from distil.envs import GymEnvConfig, describe; from distil.experts.sb3.config import "
        "Sb3ExpertConfig; env = GymEnvConfig(id='CartPole-v1'); e = Sb3ExpertConfig(path=sys.argv[1]).build(env, describe(env))"
        "; e.act({'obs': np.zeros((2, 4))}); assert not {'torch', 'ray', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
