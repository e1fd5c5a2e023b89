"""The same potential written plainly in torch, in double precision: what the kernels are tested against.

Neighbours come from ASE, every function is a sum over pairs or triples as its equation says, and forces and
stress are taken by automatic differentiation. Needs torch, which nothing else here does.
"""

import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from mlip_bench.potentials.nnp.model import NNP
from mlip_bench.potentials.symmetry_functions.functions import Angular, Radial
from mlip_bench.potentials.symmetry_functions.geometry import tables
from mlip_bench.potentials.symmetry_functions.on_torch import cutoff_function

DOUBLE = torch.float64

_ACTIVATIONS = {
    "t": torch.tanh,
    "l": lambda x: x,
    "s": torch.sigmoid,
    "p": torch.nn.functional.softplus,
    "r": torch.relu,
    "g": lambda x: torch.exp(-(x**2) / 2),
    "c": torch.cos,
    "S": lambda x: 1 - torch.sigmoid(x),
    "e": lambda x: torch.exp(-x),
    "h": lambda x: x**2,
}


def energy_forces_stress(potential: NNP, atoms: Atoms) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Return energy (eV), forces (n_atoms, 3) (eV/Å) and stress (3, 3) (eV/Å³, positive under tension)."""
    positions = torch.tensor(atoms.positions, requires_grad=True)
    strain = torch.zeros(3, 3, dtype=DOUBLE, requires_grad=True)
    deform = torch.eye(3, dtype=DOUBLE) + (strain + strain.T) / 2
    centres, neighbours, shifts = neighbor_list("ijS", atoms, potential.functions_.cutoffs[-1])
    cell = torch.tensor(atoms.cell.array) @ deform
    moved = positions @ deform
    i, j = torch.tensor(centres), torch.tensor(neighbours)
    vectors = moved[j] - moved[i] + torch.tensor(shifts, dtype=DOUBLE) @ cell
    symbols = atoms.get_chemical_symbols()
    energy = torch.zeros((), dtype=DOUBLE)
    for atom, symbol in enumerate(symbols):
        mine = torch.nonzero(i == atom).ravel()
        kinds = [symbols[int(index)] for index in j[mine]]
        energy = energy + _atom_energy(potential, symbol, vectors[mine], kinds)
    energy.backward()
    assert positions.grad is not None
    assert strain.grad is not None
    volume = atoms.get_volume() if atoms.cell.rank == 3 else float("nan")
    return float(energy.detach()), -positions.grad, strain.grad / volume


def _atom_energy(potential: NNP, symbol: str, vectors: torch.Tensor, kinds: list[str]) -> torch.Tensor:
    """Return the energy of one atom from the vectors to its neighbours, (n, 3), and their elements."""
    layout = tables(potential.functions_, potential.elements_)
    index = potential.elements_.index(symbol)
    inputs = torch.stack([_function(f, layout.switch, vectors, kinds) for f in layout.order[index]])
    low = torch.tensor(potential.ranges_.low[index])
    factor = torch.tensor(potential.ranges_.factors[index])
    w1, b1, w2, b2, w3, b3 = (
        torch.tensor(part, dtype=DOUBLE) for part in potential.networks_[index].layers()
    )
    first, second = (_ACTIVATIONS[letter] for letter in potential.networks_[index].activations)
    hidden = second(w2 @ first(w1 @ ((inputs - low) * factor) + b1) + b2)
    return w3 @ hidden + b3 + float(potential.zero_[index])


def _function(
    f: Radial | Angular, switch: tuple[int, float], vectors: torch.Tensor, kinds: list[str]
) -> torch.Tensor:
    """Return one symmetry function: doi:10.1021/acs.jpca.9b08723, equations 1 and 3, each pair once."""
    if isinstance(f, Radial):
        chosen = vectors[[kind == f.neighbour for kind in kinds]]
        r = chosen.norm(dim=1)
        return (torch.exp(-f.eta * (r - f.shift) ** 2) * cutoff_function(switch, r, f.cutoff)).sum()
    total = torch.zeros((), dtype=DOUBLE)
    for a in range(len(kinds)):
        for b in range(a + 1, len(kinds)):
            if tuple(sorted((kinds[a], kinds[b]))) != f.neighbours:
                continue
            r = torch.stack([vectors[a].norm(), vectors[b].norm(), (vectors[b] - vectors[a]).norm()])
            cosine = vectors[a] @ vectors[b] / (r[0] * r[1])
            r = r[:2] if f.wide else r
            weight = (
                torch.exp(-f.eta * ((r - f.shift) ** 2).sum()) * cutoff_function(switch, r, f.cutoff).prod()
            )
            total = total + (1 + f.lam * cosine) ** f.zeta * weight
    return 2 ** (1 - f.zeta) * total
