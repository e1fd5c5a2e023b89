"""The stress by six equal formulas, of Lennard-Jones and of a network that passes messages.

Langer, Frank and Knoop, doi:10.1063/5.0155760, equations 15 to 20: derivatives of the energy by strain, with
positions and cell, edges, or the unfolded crystal strained; and sums of what the derivatives by positions
and cell, by edges, or by unfolded positions are, each times the vector that it is the derivative by.
"""

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlip_bench.data.voigt import from_matrix
from mlip_bench.potentials.sevennet import backbone
from mlip_bench.testing.graphs import Graph, Neighbours, cell_of
from mlip_bench.testing.lennard_jones import LennardJones
from mlip_bench.testing.networks import energies_by
from mlip_bench.testing.oracles import unfold

CUTOFF, LAYERS = 4.5, 2


class Subject:
    """A potential on one structure, and what the formulas start from."""

    def __init__(self, energies_of, atoms, layers):
        self.energies_of, self.atoms = energies_of, atoms
        self.neighbours = Neighbours(atoms, CUTOFF)
        self.positions = torch.tensor(atoms.positions, requires_grad=True)
        self.cell = cell_of(atoms).requires_grad_()
        self.around = unfold(atoms, layers * CUTOFF)
        self.unfolded = torch.tensor(self.around.atoms.positions, requires_grad=True)
        self.far_neighbours = Neighbours(self.around.atoms, CUTOFF)
        self.strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    @property
    def deformation(self):
        return torch.eye(3, dtype=torch.float64) + (self.strain + self.strain.T) / 2

    def energy(self, graph):
        return self.energies_of(graph)[: len(self.atoms)].sum()

    def of_unfolded(self, positions):
        return self.energy(self.far_neighbours.graph(positions, cell_of(self.around.atoms)))

    def by_strain(self, energy):
        return torch.autograd.grad(energy, self.strain)[0]


def strained_positions_and_cell(subject):
    strained = subject.positions @ subject.deformation, subject.cell @ subject.deformation
    return subject.by_strain(subject.energy(subject.neighbours.graph(*strained)))


def strained_edges(subject):
    graph = subject.neighbours.graph(subject.positions, subject.cell)
    vectors = graph.vectors.detach() @ subject.deformation
    return subject.by_strain(subject.energy(Graph(graph.numbers, graph.centres, graph.neighbours, vectors)))


def strained_unfolded_positions(subject):
    return subject.by_strain(subject.of_unfolded(subject.unfolded @ subject.deformation))


def positions_and_cell(subject):
    energy = subject.energy(subject.neighbours.graph(subject.positions, subject.cell))
    by_positions, by_cell = torch.autograd.grad(energy, (subject.positions, subject.cell))
    return subject.positions.T @ by_positions + subject.cell.T @ by_cell


def edges(subject):
    graph = subject.neighbours.graph(subject.positions.detach(), subject.cell.detach())
    vectors = graph.vectors.requires_grad_()
    (by_edges,) = torch.autograd.grad(subject.energy(graph), vectors)
    return vectors.T @ by_edges


def unfolded_positions(subject):
    (gradient,) = torch.autograd.grad(subject.of_unfolded(subject.unfolded), subject.unfolded)
    return subject.unfolded.T @ gradient


FORMS = (
    strained_positions_and_cell,
    strained_edges,
    strained_unfolded_positions,
    positions_and_cell,
    edges,
    unfolded_positions,
)


def a_network():
    """Return the energies of atoms by a SevenNet of random weights, in double precision."""
    config = backbone.configuration(["Ar", "Ne"], CUTOFF, 4, 2, LAYERS, [8], [], 1.0, 12.0)
    torch.manual_seed(1)
    return energies_by(backbone.build(config).double().eval())


@pytest.fixture(scope="module")
def subjects():
    """Each potential on a cell smaller than twice its reach, sheared and with moved atoms."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))
    atoms.symbols[::3] = "Ne"
    strain = 0.03 * np.random.default_rng(2).normal(size=(3, 3))
    atoms.set_cell(np.array(atoms.cell) @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.2, seed=4)
    pairs = LennardJones.of(["Ar", "Ne"], cutoff=CUTOFF, onset=3.5).energies_of_atoms
    return {"lennard-jones": Subject(pairs, atoms, 1), "sevennet": Subject(a_network(), atoms, LAYERS)}


def by_differences(subject):
    """Return dU/dε by central differences of the strained graph."""
    out, step = torch.zeros(3, 3, dtype=torch.float64), 1e-4
    for i, j in np.ndindex(3, 3):
        energies = []
        for sign in (1, -1):
            strain = torch.eye(3, dtype=torch.float64)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            graph = subject.neighbours.graph(
                subject.positions.detach() @ strain, subject.cell.detach() @ strain
            )
            energies.append(subject.energy(graph).item())
        out[i, j] = (energies[0] - energies[1]) / (2 * step)
    return out


@pytest.fixture(scope="module")
def derivatives(subjects):
    """By central differences, and by each of the six."""
    return {
        name: (by_differences(subject), [form(subject).detach() for form in FORMS])
        for name, subject in subjects.items()
    }


@pytest.mark.parametrize("name", ["lennard-jones", "sevennet"])
@pytest.mark.parametrize("index", range(6), ids=[form.__name__ for form in FORMS])
def test_the_form_is_the_derivative_by_strain(index, name, derivatives):
    expected, forms = derivatives[name]
    scale = abs(expected).max()
    torch.testing.assert_close(forms[index], expected, rtol=0, atol=1e-6 * scale)
    torch.testing.assert_close(forms[index], forms[0], rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(forms[index], forms[index].T, rtol=0, atol=1e-12 * scale)


def test_the_stress_that_is_predicted_is_theirs(subjects):
    subject = subjects["lennard-jones"]
    potential = LennardJones.of(["Ar", "Ne"], cutoff=CUTOFF, onset=3.5)
    stress = from_matrix(edges(subject).detach().numpy() / subject.atoms.get_volume())
    np.testing.assert_allclose(potential.predict([subject.atoms])[0].stress, stress, atol=1e-14)
