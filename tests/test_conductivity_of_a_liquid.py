"""The Lennard-Jones liquid near its triple point, of which the conductivity is known, by both methods."""

import dataclasses
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from mlip_bench.md.driver import Simulation
from mlip_bench.measure import conductivity
from mlip_bench.measure.conductivity import settings, transport

SCRIPTS = Path(__file__).parents[1] / "docs" / "heat-flux"
sys.path.insert(0, str(SCRIPTS))
try:
    import ladder
finally:
    sys.path.remove(str(SCRIPTS))

# In reduced units: 6.934 ± 0.028 of 1372 atoms (documentation of STACIE); 108 atoms may differ a little.
PUBLISHED, OF_SIZE = 6.934, 0.35


@pytest.fixture(scope="module")
def liquid():
    """A frame of 108 atoms."""
    atoms = bulk("Ar", "fcc", a=(4 / ladder.DENSITY) ** (1 / 3) * ladder.SIGMA, cubic=True).repeat(3)
    temperature = ladder.LIQUID.settings.temperature
    with Simulation(ladder.LIQUID.potential, atoms, 1, "nvt", 10 * temperature, 6.0) as simulation:
        for target in (5 * temperature, temperature):
            simulation.switch("nvt", target)
            simulation.run(1500)
        atoms.positions = simulation.positions()
    return atoms


def measured(liquid, **changed):
    """Return the conductivity in reduced units, with its standard error and the note."""
    chosen = dataclasses.replace(ladder.LIQUID.settings, **changed)
    parts = [settings.Settings.of(part) for part in settings.split(vars(chosen) | {"seeds": 2})]
    observed = [conductivity.observe(ladder.LIQUID.potential, liquid, part) for part in parts]
    found = transport.found_of(observed, chosen)
    (kappa,) = (value for value in found.values if value.metric == "kappa")
    assert kappa.error is None
    return kappa.value / ladder.UNIT, kappa.spread / ladder.UNIT, kappa.note


@pytest.mark.slow
def test_driven_and_equilibrium_agree_with_what_is_published(liquid):
    driven, of_driven, note = measured(liquid, length=25.0, method="hnemd", field=0.1)
    assert "linear within the errors" in note
    assert of_driven < 0.5
    assert driven == pytest.approx(PUBLISHED, abs=3 * of_driven + OF_SIZE)
    still, of_still, note = measured(liquid, length=60.0)
    assert "Ar diffuses" in note
    assert still == pytest.approx(PUBLISHED, abs=3 * of_still + OF_SIZE)
    assert of_driven < of_still  # a driven current is the shorter way
