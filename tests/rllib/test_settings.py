import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from ray import cloudpickle

from distil.envs import EnvSpec
from distil.errors import InputError
from distil.rllib.settings import algorithm_config, num_cpus
from distil.runconfig import load_config
from distil.spaces import action_spec, observation_spec

pytest.importorskip("ray.rllib")


def spec_of(observation, action):
    spec = observation_spec(observation), action_spec(action)
    return EnvSpec(name="x", observation=spec[0], action=spec[1], max_episode_steps=None, reward_threshold=None)


def of(recipe, spec=None, **changes):
    env = gym.make("CartPole-v1" if "cartpole" in recipe else "Pendulum-v1")
    words = {"algorithm.backend": "rllib", "rollouts.num_workers": 0}
    words |= {f"algorithm.{key.replace('__', '.')}": value for key, value in changes.items()}
    return algorithm_config(load_config(recipe, words), spec or spec_of(env.observation_space, env.action_space))


def test_a_recipe_means_the_same_in_rllib():
    found = of("cartpole-ppo")
    assert type(found).__name__ == "PPOConfig"
    assert (found.gamma, found.lambda_, found.clip_param, found.num_epochs, found.entropy_coeff) == (0.99, 0.95, 0.2, 10, 0.0)
    assert (found.total_train_batch_size, found.minibatch_size, found.lr, found.seed) == (2048, 64, 3e-4, 0)
    assert (found.num_env_runners, found.num_learners, num_cpus(found)) == (0, 0, 1)
    model = found.model_config
    assert (model["fcnet_hiddens"], model["fcnet_activation"], model["vf_share_layers"]) == ([64, 64], "tanh", False)
    found = of("pendulum-sac", random_steps=77)
    assert type(found).__name__ == "SACConfig"
    assert (found.actor_lr, found.critic_lr, found.alpha_lr, found.lr, found.tau) == (1e-3, 1e-3, 1e-3, None, 0.005)
    assert (found.total_train_batch_size, found.num_steps_sampled_before_learning_starts) == (256, 77)
    assert found.training_intensity == 256  # one update for each step


def test_own_keys_override_the_recipe():
    own = {"gamma": 0.5, "num_env_runners": 3, "lr": [[0, 1e-3], [100, 1e-4]], "model_config": {"fcnet_hiddens": [8]}}
    found = of("cartpole-ppo", rllib__config=own)
    assert (found.gamma, found.num_env_runners, found.lr) == (0.5, 3, [[0, 1e-3], [100, 1e-4]])
    assert found.model_config["fcnet_hiddens"] == [8]
    assert num_cpus(found) == 4
    for name in ("IMPALA", "APPO"):
        assert type(of("cartpole-ppo", rllib__algorithm=name)).__name__ == f"{name}Config"


@pytest.mark.parametrize(
    ("own", "fault"),
    [
        ({"gama": 0.5}, r"unknown key algorithm.rllib.config.gama: RLlib's PPO has none of that name; did you mean gamma\?"),
        ({"tau": 0.5}, "unknown key algorithm.rllib.config.tau: RLlib's PPO has none"),
        ({"vf_share_layers": True}, "unknown key algorithm.rllib.config.vf_share_layers"),  # deprecated
        ({"model_config": {"fcnet_hidden": [8]}}, r"unknown key \S+model_config.fcnet_hidden; did you mean fcnet_hiddens\?"),
        ({"model_config": {"use_lstm": True}}, "distil serves no recurrent network"),
        ({"model_config": {"fcnet_activation": "gelu"}}, "fcnet_activation=gelu: distil serves none; use linear, tanh, relu"),
        ({"env": "CartPole-v1"}, "algorithm.rllib.config.env is set by distil: set env.id"),
        ({"model": {}}, "it is of the old API stack: set model_config"),
        ({"gamma": "high"}, "algorithm.rllib.config.gamma='high': should be like RLlib's default, 0.99"),
        ({"clip_actions": 3}, "algorithm.rllib.config.clip_actions=3: should be like"),
        ({"minibatch_size": 9999}, "algorithm.rllib.config: RLlib's PPO refuses it: .*minibatch_size"),
    ],
)
def test_own_keys_are_checked(own, fault):
    with pytest.raises(InputError, match=fault) as caught:
        of("cartpole-ppo", rllib__config=own)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "changes", "fault"),
    [
        ("cartpole-ppo", {"stop__wall_s": 5.0}, "algorithm.stop has no effect in RLlib"),
        ("cartpole-ppo", {"keep_steps": 5}, "algorithm.keep_steps has no effect in RLlib"),
        ("pendulum-sac", {"step__num_critics": 4}, "algorithm.step.num_critics has no effect in RLlib"),
        ("cartpole-ppo", {"step": {"kind": "soft_q"}}, "RLlib has no soft_q"),
    ],
)
def test_what_rllib_would_leave_out_is_refused(recipe, changes, fault):
    with pytest.raises(InputError, match=fault):
        of(recipe, **changes)


def test_spaces():
    box = spaces.Box(-1, 1, (2,), np.float32)
    for observation, action, fault in (
        (box, spaces.MultiBinary(2), "PPO has no policy for actions MultiBinary"),
        (box, spaces.Box(-1, 1, (2, 2), np.float32), r"PPO has no policy for actions Box\(2, 2\)"),
        (box, spaces.Discrete(2, start=1), "RLlib counts choices from 0"),
    ):
        with pytest.raises(InputError, match=fault):
            of("cartpole-ppo", spec_of(observation, action))
    tree = spaces.Dict(a=box)
    before = of("cartpole-ppo", spec_of(tree, spaces.Discrete(2))).build_env_to_module_connector(
        spaces={"__env_single__": (tree, spaces.Discrete(2))}
    )
    assert before.connectors[0].__class__.__name__ == "FlattenObservations"
    with pytest.raises(InputError, match="normalise=true needs one vector"):
        of("cartpole-ppo", spec_of(tree, spaces.Discrete(2)), rllib__normalise=True)


def test_the_environment_goes_to_actors_by_value():
    """A registered name belongs to the first Ray session of the process: actors of the second one don't find it."""
    made = cloudpickle.loads(cloudpickle.dumps(of("cartpole-ppo").env))({})
    assert isinstance(made.observation_space, spaces.Box)
    made.close()
