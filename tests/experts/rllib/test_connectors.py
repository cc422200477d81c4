import numpy as np
import pytest
from gymnasium import spaces

from distil.errors import InputError
from distil.experts.rllib.connectors import find_connectors, read_connectors
from distil.interchange.rllib_codec import array_text, pack


def read(folder):
    return read_connectors(find_connectors(folder / "learner_group/learner/rl_module/default_policy"))


def test_what_rllib_does_to_observations_and_actions_is_read(rllib, tmp_path):
    from ray.rllib.connectors.env_to_module import FlattenObservations

    made = rllib.Made(observation=spaces.Dict(a=rllib.VECTOR), before=[FlattenObservations()], normalize_actions=False)
    found = read(made.save(tmp_path))
    assert (found.observation, found.action) == (spaces.Dict(a=rllib.VECTOR), rllib.BOX)
    assert (found.flattens, found.rescales, found.statistics) == (True, False, None)
    assert read(rllib.Made().save(tmp_path / "b")).rescales
    assert find_connectors(tmp_path / "elsewhere/module") is None


def test_other_connectors_are_refused(rllib, tmp_path):
    from ray.rllib.connectors.env_to_module import WriteObservationsToEpisodes

    with pytest.raises(InputError, match=r"the connector ray.rllib.\S+.WriteObservationsToEpisodes isn't supported: wrap"):
        read(rllib.Made(before=[WriteObservationsToEpisodes()]).save(tmp_path))


def test_a_connector_of_the_users_own_is_refused_and_not_imported(rllib, tmp_path):
    from ray.rllib.connectors.connector_v2 import ConnectorV2

    class Own(ConnectorV2):
        def __call__(self, **kwargs):
            return kwargs["batch"]

    with pytest.raises(InputError, match=r"class_and_ctor_args.pkl: refused, it asks for .*, or wrap the model"):
        read(rllib.Made(before=[Own()]).save(tmp_path))


def test_removed_keys_are_refused(rllib, tmp_path):
    from ray.rllib.connectors.env_to_module import FlattenObservations

    observation = spaces.Dict(a=rllib.VECTOR, b=rllib.VECTOR)
    flatten = FlattenObservations(observation, rllib.BOX, keys_to_remove=["a"])
    with pytest.raises(InputError, match="FlattenObservations with multi_agent or keys_to_remove"):
        read(edited(rllib, tmp_path, observation, flatten))


def edited(rllib, folder, observation, flatten):
    """RLlib doesn't save `keys_to_remove`: put it into the file."""
    made = rllib.Made(observation=observation, before=[flatten])
    flatten.get_ctor_args_and_kwargs = lambda: ((), {"keys_to_remove": ["a"]})
    return made.save(folder)


def test_statistics_that_make_no_sense_are_refused(rllib, tmp_path):
    from ray.rllib.connectors.env_to_module import MeanStdFilter

    folder = rllib.Made(before=[MeanStdFilter()]).save(tmp_path)
    state = folder / "env_runner/env_to_module_connector/MeanStdFilter/state.msgpack"
    found = read(folder).statistics
    np.testing.assert_allclose(found.scale["obs"], np.full(3, 1e-6))  # nothing seen
    running = {"num_pushes": 3, "mean_array": array_text(np.zeros(3)), "sum_sq_diff_array": array_text(np.full(3, 8.0))}
    good = {"running_stats": [running], "clip_by_value": 10.0, "de_mean_to_zero": True, "de_std_to_one": True}
    state.write_bytes(pack({None: good}))
    np.testing.assert_allclose(read(folder).statistics.scale["obs"], np.full(3, 2 + 1e-6))
    for bad in (
        {"sum_sq_diff_array": array_text(np.full(3, -1.0))},
        {"sum_sq_diff_array": array_text(np.zeros(2))},
        {"mean_array": array_text(np.full(3, np.nan))},
        {"mean_array": "x"},
        {"num_pushes": None},
    ):
        state.write_bytes(pack({None: good | {"running_stats": [running | bad]}}))
        with pytest.raises(InputError, match=r"state.msgpack: not the statistics of one vector"):
            read(folder)
    state.write_bytes(b"\xdf\xff\xff\xff\xff")
    with pytest.raises(InputError, match=r"state.msgpack: not the statistics of one vector"):
        read(folder)
    state.rename(state.with_suffix(".pkl"))
    with pytest.raises(InputError, match=r"state.pkl: a pickle, which is not read"):
        read(folder)
