"""Energies of SevenNet hold their digits, however large the zero of the energy is."""

import numpy as np
import pytest

from mlip_bench.data import reference
from mlip_bench.data.reference import labelled
from mlip_bench.measure.errors import comparison, summary
from mlip_bench.potentials.sevennet import SevenNet, SevenNetDirect

SMALL = {"channels": 2, "lmax": 2, "layers": 2, "cutoff": 4.0, "steps": 8, "atoms_per_step": 32}


def shifted(structures, per_atom):
    """Return structures whose energies are moved by so much (eV) per atom."""
    return [
        labelled(
            atoms.copy(),
            reference.energy(atoms) + per_atom * len(atoms),
            reference.forces(atoms),
            reference.stress(atoms),
        )
        for atoms in structures
    ]


def errors(potential, structures):
    return summary(comparison(structures, potential.predict(structures)))


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_all_electron_zeros_cost_no_digits(kind, alloys):
    """Within 1e-3 meV/atom, in training as in prediction."""
    train = alloys[:8]
    plain = kind(**SMALL).fit(train)
    expected = np.array([one.energy for one in plain.predict(train)])
    for per_atom in (-1900.0, -7900.0):
        data = shifted(train, per_atom)
        potential = kind(**SMALL).fit(data)
        moved = [per_atom * len(atoms) for atoms in data]
        found = np.array([one.energy for one in potential.predict(data)]) - moved
        np.testing.assert_allclose(found / 8, expected / 8, atol=1e-6)
        assert errors(potential, data)["energy_rmse"] == pytest.approx(
            errors(plain, train)["energy_rmse"], abs=1e-3
        )


def test_a_copy_of_a_crystal_has_its_energy_to_the_last_digit(alloys):
    """Of 1000 atoms: in single precision the sum alone would cost more."""
    potential = SevenNet(**SMALL).fit(shifted(alloys[:8], -7900.0))
    atoms = alloys[0]
    one, many = potential.predict([atoms, atoms * (5, 5, 5)])
    assert many.energy / 125 == pytest.approx(one.energy, abs=8e-6)


@pytest.mark.parametrize("kind", [SevenNet, SevenNetDirect])
def test_training_from_a_checkpoint_goes_by_the_zero_of_the_data(kind, alloys, tmp_path):
    train = alloys[:8]
    SevenNet(**SMALL).fit(train).save(tmp_path)
    settings = {"checkpoint": str(tmp_path / "model.pth"), "steps": 8, "atoms_per_step": 32}
    one, other = train, shifted(train, -5.0)
    first, second = kind(**settings).fit(one), kind(**settings).fit(other)
    for metric, value in errors(first, one).items():
        assert errors(second, other)[metric] == pytest.approx(value, rel=1e-3), metric


def test_a_checkpoint_that_is_not_trained_keeps_its_zero(alloys, tmp_path):
    fitted = SevenNet(**SMALL).fit(alloys[:8])
    fitted.save(tmp_path)
    again = SevenNet(checkpoint=str(tmp_path / "model.pth"), steps=0).fit(shifted(alloys[:4], -5.0))
    assert again.predict(alloys[:1])[0].energy == pytest.approx(
        fitted.predict(alloys[:1])[0].energy, abs=1e-5
    )
