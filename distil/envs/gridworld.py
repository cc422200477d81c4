"""Grid worlds whose dynamics are known: walls, a goal, moves that may slip, and episodes that all have the same length.

The length says nothing about how well the task was done, so that a reward learned from demonstrations cannot be about survival.
Legend: a cell is (row, column), counted from the upper left corner; state = row * size + column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from distil.errors import InputError
from distil.types import Array

MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0), (0, 0))  # left, down, right, up, stay: rows and columns
STAY = 4
_MOST_DRAWS = 100  # of a layout, until the first row has a way to the goal
Cell = tuple[int, int]


class GridWorld(gym.Env):  # type: ignore[misc]
    """Observations are the state, Discrete(size * size), walls included; actions are the five of MOVES.

    A move into a wall or out of the grid stays where it is. With probability `slip`, a move goes to one of its two sides.
    The reward is 1 for each step that begins at the goal, otherwise 0: it depends on the state alone. Episodes have `horizon`
    steps and never terminate. `is_success`: the step ends at the goal.

    As in Gymnasium's own tabular environments, `P[state][action]` is a list of (probability, next state, reward, terminated),
    and `initial_state_distrib` [states] the probability of each first state.

    Args:
        size: rows, and columns.
        walls: cells.
        gap: a wall across the middle row that leaves this column open; `left` and `right` are the first and the last one.
        layout_seed: draw walls (`density` of all cells) and, unless given, the goal. Cells that are cut off become walls.
        density: share of cells that are drawn as walls.
        slip: probability.
        goal: a cell; None: the middle of the last row, or drawn.
        starts: cells, equally likely; None: all free ones of the first row but the goal.
        horizon: steps of an episode.

    Raises:
        InputError: a cell is outside of the grid, the goal or a start is a wall, or a start has no way to the goal.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(
        self,
        *,
        size: int = 8,
        walls: Sequence[Sequence[int]] = (),
        gap: int | Literal["left", "right"] | None = None,
        layout_seed: int | None = None,
        density: float = 0.2,
        slip: float = 0.1,
        goal: Sequence[int] | None = None,
        starts: Sequence[Sequence[int]] | None = None,
        horizon: int = 50,
    ) -> None:
        if not 0 <= slip <= 1 or size < 2 or horizon < 1:
            raise InputError(f"GridWorld: size {size}, slip {slip}, horizon {horizon}: at least 2, from 0 to 1, at least 1")
        self.size, self.horizon = size, horizon
        fixed, rng = self._fixed(walls, gap), None if layout_seed is None else np.random.default_rng(layout_seed)
        for _ in range(_MOST_DRAWS):
            self._lay_out(fixed, goal, density, rng)
            joined = self._joined()
            if rng is None or joined[0].any():
                break
        if rng is not None:
            self.is_wall |= ~joined
        first = [(0, column) for column in range(size) if joined[0, column] and (0, column) != self.goal]
        self.starts = first if starts is None else [self._cell(cell, "start") for cell in starts]
        self._require_way(joined)
        self.observation_space, self.action_space = gym.spaces.Discrete(size * size), gym.spaces.Discrete(len(MOVES))
        self.initial_state_distrib = np.zeros(size * size)
        for cell in self.starts:
            self.initial_state_distrib[self.state_of(cell)] += 1 / len(self.starts)
        self.P = {
            state: {action: self._outcomes(state, action, slip) for action in range(len(MOVES))} for state in range(size * size)
        }
        self._state, self._num = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Start in one of the first cells."""
        super().reset(seed=seed)
        self._state, self._num = int(self.np_random.choice(self.size**2, p=self.initial_state_distrib)), 0
        return self._state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move, and slip perhaps."""
        outcomes = self.P[self._state][int(action)]
        drawn = np.searchsorted(np.cumsum([outcome[0] for outcome in outcomes]), self.np_random.random(), side="right")
        _, self._state, reward, _ = outcomes[min(int(drawn), len(outcomes) - 1)]
        self._num += 1
        return self._state, reward, False, self._num >= self.horizon, {"is_success": self._state == self.state_of(self.goal)}

    def state_of(self, cell: Cell) -> int:
        """Return the state of a cell."""
        return cell[0] * self.size + cell[1]

    def _outcomes(self, state: int, action: int, slip: float) -> list[tuple[float, int, float, bool]]:
        cell, reward = divmod(state, self.size), float(state == self.state_of(self.goal))
        if action == STAY or self.is_wall[cell]:
            return [(1.0, state, reward, False)]
        ways = [(1 - slip, action), (slip / 2, (action + 1) % 4), (slip / 2, (action - 1) % 4)]
        return [(chance, self._moved(cell, way), reward, False) for chance, way in ways if chance]

    def _moved(self, cell: Cell, action: int) -> int:
        to = (cell[0] + MOVES[action][0], cell[1] + MOVES[action][1])
        inside = min(to) >= 0 and max(to) < self.size
        return self.state_of(to if inside and not self.is_wall[to] else cell)

    def _fixed(self, walls: Sequence[Sequence[int]], gap: int | str | None) -> Array:
        """Return the walls that are not drawn, [size, size] bool."""
        fixed = np.zeros((self.size, self.size), np.bool_)
        for row, column in [self._cell(cell, "wall") for cell in walls]:
            fixed[row, column] = True
        if gap is not None:
            column = {"left": 0, "right": self.size - 1}.get(gap, -1) if isinstance(gap, str) else gap
            fixed[self.size // 2] = np.arange(self.size) != self._cell((0, column), "gap")[1]
        return fixed

    def _lay_out(self, fixed: Array, goal: Sequence[int] | None, density: float, rng: np.random.Generator | None) -> None:
        """Set walls and goal."""
        self.is_wall: Array = fixed.copy()  # [size, size] bool
        self.goal = (self.size - 1, self.size // 2) if goal is None else self._cell(goal, "goal")
        if rng is None:
            return
        self.is_wall |= rng.random(fixed.shape) < density
        if goal is None:  # not in the first row, where episodes start
            self.goal = self._cell(rng.integers([1, 0], self.size).tolist(), "goal")
        self.is_wall[self.goal] = fixed[self.goal]

    def _joined(self) -> Array:
        """Return which cells have a way to the goal, [size, size] bool."""
        joined, ahead = np.zeros_like(self.is_wall), [self.goal]
        while ahead:
            cell = ahead.pop()
            if not self.is_wall[cell] and not joined[cell]:
                joined[cell] = True
                ahead += [divmod(self._moved(cell, action), self.size) for action in range(4)]
        return joined

    def _cell(self, cell: Sequence[int], what: str) -> Cell:
        if len(cell) != 2 or not all(isinstance(x, int) and 0 <= x < self.size for x in cell):
            raise InputError(
                f"GridWorld: {what} {list(cell)} is not a cell: give [row, column], each from 0 to {self.size - 1}"
            )
        return int(cell[0]), int(cell[1])

    def _require_way(self, joined: Array) -> None:
        if self.is_wall[self.goal]:
            raise InputError(f"GridWorld: the goal {list(self.goal)} is a wall; set goal to a free cell")
        lost = next((cell for cell in self.starts if not joined[cell]), None)
        if lost is not None or not self.starts:
            which = "no cell of the first row" if lost is None else f"not the start {list(lost)}"
            raise InputError(f"GridWorld: the goal {list(self.goal)} can be reached from {which}; set starts, or other walls")
