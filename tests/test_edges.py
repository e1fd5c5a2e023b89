"""A neighbour list that is kept from step to step."""

import numpy as np
from ase.build import graphene

from mlip_bench.potentials.edges import Edges


def test_a_slab_without_a_third_vector_is_stretched():
    """Nothing says how far atoms went along an open direction, so the list is built anew."""
    sheet = graphene(a=2.46, size=(3, 3, 1), vacuum=None)
    assert sheet.cell.rank == 2
    kept, fresh = Edges(["C"], 3.0, 0.5), Edges(["C"], 3.0)
    kept.update(sheet)
    stretched = sheet.copy()
    stretched.set_cell(np.array(sheet.cell) * 1.001, scale_atoms=True)
    vectors, expected = kept.update(stretched), fresh.update(stretched)
    near = vectors[np.linalg.norm(vectors, axis=1) < 3.0]
    np.testing.assert_allclose(sorted(np.linalg.norm(near, axis=1)), sorted(np.linalg.norm(expected, axis=1)))
