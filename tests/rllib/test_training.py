"""Short runs of RLlib, in this process and with an actor, on the tests' Ray session."""

import numpy as np
import pytest

from distil import api
from distil.errors import InputError, RunError
from distil.rundir import RunDir

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # RLlib's own


def words(folder, **changes):
    return {
        "algorithm.backend": "rllib",
        "algorithm.steps": 400,
        "algorithm.steps_per_round": 200,
        "algorithm.step.epochs": 1,
        "algorithm.rllib.checkpoint_every": 1,
        "policy.encoder.hidden": [16, 8],
        "rollouts.num_workers": 0,
        "tracking.enabled": False,
        "evaluation.episodes": 3,
        "runs": str(folder / "runs"),
        **{key.replace("__", "."): value for key, value in changes.items()},
    }


def num_runners():
    """Return how many of RLlib's actors are alive."""
    import ray
    from ray.util.state import list_actors

    own = ray.get_runtime_context().gcs_address  # other sessions may run on this machine
    return sum("EnvRunner" in actor.class_name for actor in list_actors(own, filters=[("state", "=", "ALIVE")]))


def test_an_interrupted_run_continues_and_ends_in_a_policy(ray_session, tmp_path):
    said = []

    def interrupt(what, done, total, /, **figures):
        if what == "train" and done == 400:
            raise KeyboardInterrupt

    interrupt.say = said.append
    with pytest.raises(KeyboardInterrupt):
        api.train_expert("cartpole-ppo", words(tmp_path), run="mine", progress=interrupt)
    assert any("none of algorithm.tuning_episodes" in line for line in said)
    run = RunDir(tmp_path / "runs/mine")
    assert [report.spent.agent_steps for report in run.reports()] == [200]
    done = api.train_expert("cartpole-ppo", words(tmp_path), run="mine", resume=True)
    assert [report.spent.agent_steps for report in done.reports] == [200, 400, 400]
    assert [path.name for path in run.rllib.iterdir()] == ["0001"]
    assert done.metrics["eval/episode_length"] > 5
    assert done.metrics["rllib/episode_return_mean"] > 5
    assert (done.metrics["budget/agent_steps"], done.metrics["budget/gradient_steps"]) == (400, 8)
    assert done.expert == ("policy", run.path)
    # the policy and the checkpoint are the same expert
    recipe = {"tracking.enabled": False, "runs": str(tmp_path / "runs"), "evaluation.episodes": 3, "rollouts.num_workers": 0}
    served = {
        kind: api.evaluate_expert("cartpole-ppo", recipe | {"expert": {"kind": kind, "path": str(path)}})
        for kind, path in (("policy", run.path), ("rllib", run.rllib / "0001"))
    }
    returns = {kind: outcome.results["expert"].returns.tolist() for kind, outcome in served.items()}
    assert returns["policy"] == returns["rllib"]
    assert np.mean(returns["policy"]) == pytest.approx(done.metrics["eval/return_mean"])
    assert api.train_expert("cartpole-ppo", words(tmp_path), run="mine", resume=True).reports == done.reports  # nothing is left


def test_a_network_that_distil_lacks_ends_in_a_checkpoint_that_serves(ray_session, tmp_path):
    """With an actor and a filter, whose statistics travel between the processes after a checkpoint was written."""
    own = {"model_config": {"fcnet_use_layernorm": True}, "num_env_runners": 1}
    changes = words(tmp_path, algorithm__rllib__config=own, algorithm__rllib__normalise=True)
    said = []

    class Progress:
        def __call__(self, *args, **figures):
            pass

        def say(self, text):
            said.append(text)

    done = api.train_expert("cartpole-ppo", changes, progress=Progress())
    kind, path = done.expert
    assert kind == "rllib"
    assert any("no distil policy, as its network has layer normalisation" in text and str(path) in text for text in said)
    assert done.metrics["eval/return_mean"] > 5
    assert any(not num_runners() for _ in range(200))  # they have ended, or are about to


def test_an_environment_that_raises_is_one_line(ray_session, tmp_path):
    changes = words(tmp_path, env={"kind": "import", "target": "rllibbed:Stuck"})
    with pytest.raises(RunError, match=r"RLlib's PPO failed: .*the arm is stuck.*--resume continues") as caught:
        api.train_expert("cartpole-ppo", changes)
    assert "\n" not in str(caught.value)


def test_an_actor_that_died_is_one_line(ray_session, tmp_path):
    env = {"kind": "import", "target": "rllibbed:Stuck"}
    with pytest.raises(
        RunError, match=r"an actor died: if rollouts.num_workers=0 fails too, it shows the environment's"
    ) as caught:
        api.train_expert("cartpole-ppo", words(tmp_path, env=env, rollouts__num_workers=1))
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(InputError, match=r"unknown key algorithm.rllib.config.gama"):
        api.train_expert("cartpole-ppo", words(tmp_path, algorithm__rllib__config={"gama": 1}))
    assert not (tmp_path / "runs").exists()
