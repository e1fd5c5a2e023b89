"""The moving average of a network's weights, which is what is validated and kept."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """Exponential moving average of a model's weights, by their names.

    torch has one (``AveragedModel``), but it copies the model, and a copy of an e3nn model may have its
    buffers in another order, which torch then mixes up.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self._decay = decay
        # Looked up once: to go through all modules of a model takes longer than to average its weights.
        self._own = dict(model.named_parameters())
        self.weights = weights_of(model)

    def update(self, step: int) -> None:
        """Take the model's weights after so many steps into the average.

        At first it is over fewer steps: the weights that training begins with would stay in it (as
        ``ExponentialMovingAverage`` of TensorFlow has it, ``num_updates``).
        """
        averages = [self.weights[name] for name in self._own]
        add: Any = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        add(averages, [value.detach() for value in self._own.values()], None)

    @contextlib.contextmanager
    def in_place_of(self, model: torch.nn.Module) -> Iterator[None]:
        """Let a model have the averaged weights for a while."""
        own = weights_of(model)
        put(self.weights, model)
        yield
        put(own, model)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights."""
        return self.weights

    def load_state_dict(self, weights: dict[str, torch.Tensor]) -> None:
        """Go back to averaged weights."""
        self.weights = weights


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a model's weights, by their names."""
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def put(weights: dict[str, torch.Tensor], model: torch.nn.Module) -> None:
    """Copy weights into a model."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(weights[name])
