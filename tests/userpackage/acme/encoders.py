"""An encoder: a recurrent network reads the observations of a window in their order."""

from torch import nn

from distil.heads.base import Context
from distil.policies.encoder import Backbone


class Recurrent(Backbone):
    """A GRU; its last state is the context of the head, all its states are the tokens."""

    def __init__(self, num_features, images, horizon, width=32):
        super().__init__()
        self.gru = nn.GRU(num_features, width, batch_first=True)
        self.num_out = width

    def forward(self, features_BHF, images):
        """Return the context of windows of H standardised observations; this one takes no images."""
        states_BHD, _ = self.gru(features_BHF)
        return Context(pooled_BD=states_BHD[:, -1], tokens_BLD=states_BHD)
