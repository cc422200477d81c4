"""RLlib's SingleAgentEpisode states in msgpack."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from distil.errors import InputError, RunError
from distil.interchange.episodes import BadEpisodeError
from distil.interchange.rllib_codec import array_of, array_text, pack, unpack
from distil.interchange.rllib_pieces import Piece
from distil.interchange.spaces import gym_space
from distil.spaces import SpaceSpec, action_spec, observation_spec
from distil.store.schema import StoreSpec
from distil.types import Array, Episode


def pack_episode(spec: StoreSpec, episode: Episode, actions: Array) -> bytes:
    """Return an episode as `SingleAgentEpisode.from_state` wants it; what RLlib has no field for is in `custom_data`."""
    num = episode.length
    observations = [
        spec.observation.unflatten({k: rows[t] for k, rows in episode.observations.items()}) for t in range(num + 1)
    ]
    obs_space, action_space = _space_json(gym_space(spec.observation)), _space_json(gym_space(spec.action))
    own = {
        "expert_actions": episode.expert_actions,
        "labelled": episode.labelled,
        "acted_by_expert": episode.acted_by_expert,
        "actions": episode.actions,
        "truncated": episode.truncated,
        "infos": list(episode.infos) if episode.infos is not None else None,
    }
    state = {
        "id_": episode.uid,
        "agent_id": None,
        "module_id": None,
        "multi_agent_episode_id": None,
        "observations": _buffer(observations, obs_space),
        "actions": _buffer(list(actions), action_space),
        "rewards": _buffer(episode.rewards.tolist(), None),
        "infos": _buffer([{} for _ in range(num + 1)], None),
        "extra_model_outputs": None,
        "is_terminated": episode.terminated,
        "is_truncated": episode.truncated or not episode.terminated,  # RLlib refuses episodes without an end
        "t_started": 0,
        "t": num,
        "_observation_space": obs_space,
        "_action_space": action_space,
        "_start_time": None,
        "_last_step_time": None,
        "custom_data": {"distil": own},
    }
    return pack(state)


def unpack_spaces(raw: bytes, file: Path) -> tuple[SpaceSpec, SpaceSpec]:
    """Return the observation's and the action's space of an episode's state."""
    state = _unpack(raw, file)
    if "agent_episodes" in state:
        raise InputError(f"{file}: multi-agent episodes aren't read; record each agent's own (SingleAgentEpisode)")
    try:
        found = [_space(state[name]) for name in ("_observation_space", "_action_space")]
    except (KeyError, TypeError, ValueError, zlib.error, OSError):
        raise InputError(f"{file}: its episodes don't say their spaces; record them with RLlib 2.40 or newer") from None
    return observation_spec(found[0]), action_spec(found[1])


def unpack_piece(raw: bytes, spec: StoreSpec, file: Path) -> tuple[str, Callable[[], Piece]]:
    """Return an episode's id, and how to get its steps."""
    state = _unpack(raw, file)
    return str(state.get("id_")), partial(_piece, state, spec)


def _piece(state: dict[str, Any], spec: StoreSpec) -> Piece:
    try:
        observations = _rows(state["observations"])
        num = len(observations) - 1
        leaves = [spec.observation.flatten(item) for item in observations]
        actions = np.stack([np.asarray(action) for action in _rows(state["actions"])[-num:]])
        rewards = np.asarray([float(reward) for reward in _rows(state["rewards"])[-num:]])
        return Piece(
            observations={leaf.name: np.stack([item[leaf.name] for item in leaves]) for leaf in spec.observation.leaves},
            actions=actions,
            rewards=rewards,
            terminated=bool(state["is_terminated"]),
            truncated=bool(state["is_truncated"]),
            start=int(state["t_started"]),
            own=_own(state.get("custom_data") or {}),
            infos=_infos(state.get("infos"), num),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadEpisodeError(f"its state isn't whole ({type(error).__name__}: {error})") from None


def _own(custom: dict[str, Any]) -> dict[str, Any]:
    own = custom.get("distil")
    if own is None:
        return {}
    out = {name: own[name] for name in ("expert_actions", "labelled", "acted_by_expert", "actions", "truncated")}
    return out | ({} if own["infos"] is None else {"infos": tuple(own["infos"])})


def _infos(buffer: Any, num: int) -> tuple[Mapping[str, Any], ...]:
    """Return the infos of the steps, without the reset's; none where they aren't one a step."""
    rows = buffer.get("data") if isinstance(buffer, dict) else None
    rows = rows[-num:] if isinstance(rows, list) else []
    return tuple(rows) if len(rows) == num and all(isinstance(row, dict) for row in rows) else ()


def _rows(buffer: dict[str, Any]) -> list[Any]:
    """Return a buffer's rows without the lookback that an earlier piece holds too."""
    data, lookback = buffer["data"], int(buffer["lookback"])
    if buffer["finalized"] and not isinstance(data, np.ndarray):
        raise ValueError("nested arrays; record with RLlib's own OfflineSingleAgentEnvRunner")
    return list(data)[lookback:]


def _buffer(data: list[Any], space: Any) -> dict[str, Any]:
    return {"data": data, "lookback": 0, "finalized": False, "space": space}


def _unpack(raw: bytes, file: Path) -> dict[str, Any]:
    try:
        state = unpack(raw)
        assert isinstance(state, dict)
    except (ValueError, AssertionError) as error:
        raise RunError(f"{file}: an item isn't an RLlib episode in msgpack ({error}); leave the file out") from None
    return state


def _space_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Return a space as RLlib's `gym_space_to_dict` does."""
    if isinstance(space, spaces.Box):
        bounds = {"low": array_text(space.low), "high": array_text(space.high)}
        return {"space": "box", **bounds, "shape": list(space.shape), "dtype": space.dtype.str}
    if isinstance(space, spaces.Discrete):
        return {"space": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"space": "multi-discrete", "nvec": array_text(space.nvec), "dtype": np.dtype(space.dtype).str}
    if isinstance(space, spaces.MultiBinary):
        return {"space": "multi-binary", "n": space.n if isinstance(space.n, int) else [int(n) for n in space.n]}
    if isinstance(space, spaces.Dict):
        return {"space": "dict", "spaces": {key: _space_json(sub) for key, sub in space.spaces.items()}}
    assert isinstance(space, spaces.Tuple)
    return {"space": "tuple", "spaces": [_space_json(sub) for sub in space.spaces]}


def _space(data: dict[str, Any]) -> spaces.Space[Any]:
    kind = data["space"]
    if kind == "box":
        low, high = array_of(data["low"]), array_of(data["high"])
        dtype: Any = np.dtype(data["dtype"])
        return spaces.Box(low, high, tuple(data["shape"]), dtype)
    if kind == "discrete":
        return spaces.Discrete(int(data["n"]), start=int(data.get("start", 0)))
    if kind == "multi-discrete":
        return spaces.MultiDiscrete(array_of(data["nvec"]), dtype=np.dtype(data["dtype"]).type)
    if kind == "multi-binary":
        return spaces.MultiBinary(data["n"])
    if kind == "dict":
        return spaces.Dict([(key, _space(sub)) for key, sub in data["spaces"].items()])
    if kind == "tuple":
        return spaces.Tuple([_space(sub) for sub in data["spaces"]])
    raise ValueError(f"space {kind}")
