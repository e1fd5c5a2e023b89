"""LAMMPS's own rows of the least squares of a SNAP, to hold ours against."""

import numpy as np

from mlip_bench.data import reference
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.lammps.session import LammpsSession

SKIN = 0.1  # Å


def compute_snap(potential, atoms):
    """Return the matrix of ``compute snap``, with a column for β0 of each element.

    One row is of the energy, 3 n_atoms of forces, which are turned from LAMMPS's frame, and 6 of the virial,
    positive in compression, in LAMMPS's frame.
    """
    cutoff, elements = potential._largest_cutoff(), potential.elements_
    with LammpsSession(elements) as session:
        session.place(in_periodic_box(atoms, cutoff))
        session.command(f"pair_style zero {cutoff + SKIN}")
        session.command("pair_coeff * *")
        session.command(f"neighbor {SKIN} bin")
        session.command(f"compute snap all snap {' '.join(_arguments(potential))}")
        session.command("run 0 post no")
        # The last column is the reference pair style, which is zero here.
        components = session.lmp.numpy.extract_compute("snap", 0, 2)[:, :-1]
        blocks = components.reshape(len(components), len(elements), -1)
        forces = blocks[1 : 1 + 3 * len(atoms)].reshape(len(atoms), 3, -1)
        blocks = blocks.copy()
        blocks[1 : 1 + 3 * len(atoms)] = np.einsum("nxk,yx->nyk", forces, session.prism.rot_mat).reshape(
            3 * len(atoms), len(elements), -1
        )
    constant = np.zeros((len(blocks), len(elements), 1))
    constant[0, :, 0] = reference.composition([atoms], elements)[0]
    return np.concatenate([constant, blocks], axis=2).reshape(len(blocks), -1)


def _arguments(potential):
    hypers, elements = potential.hypers, potential.elements_
    words = [hypers.cutoff, hypers.rfac0, hypers.twojmax]
    words += [potential._radius(element) for element in elements]
    words += [potential._weight(element) for element in elements]
    words += ["rmin0", hypers.rmin0, "quadraticflag", int(potential.quadratic)]
    for flag in ("bzeroflag", "switchflag", "bnormflag", "wselfallflag"):
        words += [flag, getattr(hypers, flag)]
    if hypers.chemflag:
        words += ["chem", len(elements), *range(len(elements))]
    if hypers.sinner:
        words += ["switchinnerflag", 1]
        words += ["sinner", *(hypers.sinner[element] for element in elements)]
        words += ["dinner", *(hypers.dinner[element] for element in elements)]
    return map(str, words)
