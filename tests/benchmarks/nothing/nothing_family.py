"""A family that learns nothing and predicts nothing, for measuring what everything else costs."""

from dataclasses import dataclass

import numpy as np

from mlip_bench.potentials.base import Potential, Prediction


class Nothing(Potential):
    """Zero energy, whatever the structure."""

    family = "nothing"
    revision = 1
    packages = ()
    stochastic = False

    @dataclass(frozen=True)
    class Hypers:
        """A number, so that there can be many of them."""

        number: int = 0

    def _fit(self, train, seed, progress):
        pass

    def _predict(self, structures):
        return [
            Prediction(
                energy=0.0, energies=np.zeros(len(one)), forces=np.zeros((len(one), 3)), stress=np.zeros(6)
            )
            for one in structures
        ]

    def _write(self, folder):
        pass

    def _read(self, folder):
        pass

    @property
    def n_parameters(self):
        return 1
