"""How long a network is trained, with which rate and weights of the losses at which time."""

from dataclasses import dataclass

import numpy as np

from mlip_bench.potentials.networks.losses import Weights

WARM_UP = 0.02
"""Share of the training over which the learning rate rises."""
LAST_RATE = 0.01
"""Learning rate at the end, of the largest."""
LATE = 0.75
"""Share of the training after which the energy has its later weight."""


@dataclass(frozen=True)
class Schedule:
    """How to train: for a number of steps, or for a time where ``minutes`` is above 0.

    The learning rate rises over the first steps and falls along a cosine to the end, so a training of any
    length ends with small steps. Forces come first: at the end the energy has a larger weight, when errors of
    forces no longer fall much.
    """

    steps: int
    minutes: float
    atoms_per_step: int
    learning_rate: float
    huber_delta: float
    energy_weight: float
    late_energy_weight: float
    force_weight: float
    stress_weight: float
    gradient_weight: float
    averaging: float

    def done(self, step: int, seconds: float) -> float:
        """Return the share of the training that is done after so many steps that took so many seconds."""
        return min(1.0, seconds / (60 * self.minutes) if self.minutes else step / self.steps)

    def rate(self, done: float) -> float:
        """Return the learning rate, when a share of the training is done."""
        if done < WARM_UP:
            return self.learning_rate * max(done / WARM_UP, LAST_RATE)
        falling = 0.5 * (1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP)))
        return self.learning_rate * (LAST_RATE + (1 - LAST_RATE) * float(falling))

    def weights(self, done: float) -> Weights:
        """Return the weights of the losses, when a share of the training is done."""
        energy = self.energy_weight if done < LATE else self.late_energy_weight
        return Weights(energy, self.force_weight, self.stress_weight, self.gradient_weight, self.huber_delta)
