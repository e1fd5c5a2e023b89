"""Names of several words, cells that rotate as they are strained, broken frames."""

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from mlip_bench.data import consistency
from mlip_bench.data.files import read_structures
from mlip_bench.errors import UserError


def copper(n_frames, strain, seed=0):
    """Frames of strained and rattled copper, strains with a rotation, labelled by EMT."""
    generator = np.random.default_rng(seed)
    frames = []
    for index in range(n_frames):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + strain * generator.normal(size=(3, 3))), scale_atoms=True
        )
        atoms.rattle(0.01, seed=index)
        atoms.calc = EMT()
        values = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        frames.append((atoms.copy(), values))
    return frames


def labelled(frames, factor):
    found = []
    for atoms, values in frames:
        copied = atoms.copy()
        copied.calc = SinglePointCalculator(copied, **values | {"stress": factor * values["stress"]})
        found.append(copied)
    return found


def test_a_turned_stress_is_found_where_strains_rotate_the_cell_too():
    frames = copper(30, 0.02)
    assert consistency.findings(labelled(frames, 1.0)) == []
    (finding,) = consistency.findings(labelled(frames, -1.0))
    assert "--turn-stress" in finding


@pytest.mark.parametrize("prefix", ["DFT_PBE_{}", "ref_dft_{}", "{}_PBE_D3_ref", "pbe_d3_{}"])
def test_prefixes_of_several_words_come_before_bare_names(prefix, tmp_path):
    ((atoms, values),) = copper(1, 0.0)
    atoms.info |= {prefix.format("energy"): values["energy"], "energy": values["energy"] + 1.0}
    atoms.arrays[prefix.format("forces")] = values["forces"]
    atoms.arrays["forces"] = 1.1 * values["forces"]
    ase.io.write(tmp_path / "one.extxyz", atoms, format="extxyz")
    read = read_structures(tmp_path / "one.extxyz")
    assert read.structures[0].calc.results["energy"] == pytest.approx(values["energy"])
    np.testing.assert_allclose(read.structures[0].calc.results["forces"], values["forces"], atol=1e-6)


def test_an_atom_of_no_element_and_a_broken_frame_are_named(tmp_path):
    ase.io.write(tmp_path / "good.extxyz", labelled(copper(3, 0.01), 1.0))
    text = (tmp_path / "good.extxyz").read_text()
    (tmp_path / "x.extxyz").write_text(text.replace("Cu ", "X  ", 1))
    with pytest.raises(UserError, match=r"frame 1: an atom 'X' is of no chemical element"):
        read_structures(tmp_path / "x.extxyz")
    lines = text.splitlines()
    lines[40] = lines[40].replace("Cu", "Qq")
    (tmp_path / "q.extxyz").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"q.extxyz, frame 2: cannot be read"):
        read_structures(tmp_path / "q.extxyz")
