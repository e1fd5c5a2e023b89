"""A fault of a family's code ends the errors task; what a structure cannot be predicted for is counted."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from mlip_bench.data.reference import labelled
from mlip_bench.errors import LammpsError, NotFinite, UserError
from mlip_bench.measure import errors
from mlip_bench.potentials.base import Potential, Prediction

FAULTS = [TypeError, AttributeError, NameError, IndexError, KeyError, ValueError, AssertionError, OSError]
OF_THE_STRUCTURE = [
    UserError,
    NotFinite,
    LammpsError,
    RuntimeError,
    MemoryError,
    FloatingPointError,
    np.linalg.LinAlgError,
]


class Raising:
    """Predicts nothing but zeros, and raises for the structures of some sizes."""

    predicts = Potential.predicts
    predicts_energy = predicts_stress = True

    def __init__(self, raised):
        self.raised = raised

    def predict(self, structures):
        for atoms in structures:
            if len(atoms) in self.raised:
                raise self.raised[len(atoms)](f"of {len(atoms)} atoms")
        return [Prediction(0.0, np.zeros((len(atoms), 3)), np.full(6, np.nan)) for atoms in structures]


def chains():
    made = []
    for size in range(2, 22):
        atoms = Atoms(f"Cu{size}", positions=2.2 * np.outer(np.arange(size), [1, 0, 0]))
        made.append(labelled(atoms, 0.0, np.zeros((size, 3)), None))
    return made


@given(st.integers(2, 21), st.sampled_from(FAULTS))
@settings(deadline=None, max_examples=40)
def test_a_fault_of_the_code_is_raised(size, fault):
    with pytest.raises(fault, match=f"of {size} atoms"):
        errors.predict_each(Raising({size: fault}), chains())


@given(st.dictionaries(st.integers(2, 21), st.sampled_from(OF_THE_STRUCTURE), max_size=20))
@settings(deadline=None, max_examples=40)
def test_what_cannot_be_predicted_is_counted(raised):
    predicted = errors.predict_each(Raising(raised), chains())
    assert predicted.failed == {size - 1: f"of {size} atoms" for size in sorted(raised)}
    assert len(predicted.predictions) == 20 - len(raised)
