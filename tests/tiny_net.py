"""A network so small that every byte of a run with it can be changed."""

import torch
from torch import nn


def net() -> nn.Module:
    """Of digits, 8 x 8."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))


def number() -> nn.Module:
    """Of digits, 8 x 8: one number each."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 1))
