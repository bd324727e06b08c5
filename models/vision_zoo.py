"""The two of torchvision's networks that need more said than their name.

Both drop their auxiliary heads, which serve training alone and which note 4's loop, one loss on one output, could not
use. Both draw their weights as torchvision does by default: said outright, because the default will change.
The other ten are built by ``torchvision.models`` itself, with its defaults: untrained, 1000 outputs.
"""

from __future__ import annotations

import torchvision.models
from torch import nn


def googlenet() -> nn.Module:
    """6.6 M of 13.0 M parameters. Maps ``(N, 3, H, W)``, sides of 15 or more, to logits ``(N, 1000)``."""
    network: nn.Module = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=True)
    return network


def inception_v3() -> nn.Module:
    """23.8 M of 27.2 M parameters. Maps ``(N, 3, H, W)``, sides of 75 or more, to logits ``(N, 1000)``."""
    network: nn.Module = torchvision.models.inception_v3(weights=None, aux_logits=False, init_weights=True)
    return network
