"""An expert: a controller that brakes the cart towards the middle."""

import numpy as np


class Brake:
    """Pulls towards the middle and damps; `gain` says how strongly."""

    def __init__(self, gain=1.0):
        self.gain = gain

    def act(self, observations):
        """Return the actions [N, 1] for observations [N, 2]."""
        return np.clip(-self.gain * observations.sum(1, keepdims=True), -1, 1)
