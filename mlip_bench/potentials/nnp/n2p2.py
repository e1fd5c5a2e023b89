"""The files of n2p2: ``input.nn``, ``scaling.data`` and ``weights.ZZZ.data``.

n2p2 does not fix units. Files without a note are taken as bohr and hartree, as published potentials are; ours
say ``# units: angstrom eV`` in their first line. Functions stand in n2p2's order: radial before angular, by
cutoff, η and R_s, or by cutoff, η, ζ and λ.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

from mlip_bench.errors import UserError
from mlip_bench.potentials.nnp.functions import Angular, Radial, Switch, SymmetryFunctions
from mlip_bench.potentials.nnp.geometry import Tables, tables
from mlip_bench.potentials.nnp.samples import Scaling
from mlip_bench.potentials.nnp.training import Network

INPUT = "input.nn"
SCALING = "scaling.data"
OUR_UNITS = "# units: angstrom eV"


@dataclass
class Content:
    """A potential as its folder describes it, in Å and eV."""

    elements: tuple[str, ...]
    functions: SymmetryFunctions
    ranges: Scaling
    networks: list[Network]
    baseline: np.ndarray


def read(folder: Path) -> Content:
    """Read a folder; a missing or truncated file is a :class:`UserError` that names it."""
    path = folder / INPUT
    text = _text(path)
    length, energy = (1.0, 1.0) if text.startswith(OUR_UNITS) else (Bohr, Hartree)
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    words = [line for line in lines if line]
    keys = {line[0]: line[1:] for line in words}
    try:
        elements = tuple(sorted(keys["elements"]))
        hidden = tuple(int(n) for n in keys["global_nodes_short"])
        wanted = [line[1:] for line in words if line[0] == "symfunction_short"]
        functions = _functions(wanted, keys.get("cutoff_type", ["1"]), length)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a complete input.nn ({error})") from error
    _refuse_unsupported(path, keys, hidden)
    offsets = {line[1]: float(line[2]) for line in words if line[0] == "atom_energy"}
    layout = tables(functions, elements)
    networks, ranges = [], _read_scaling(folder / SCALING, layout, elements)
    for index, element in enumerate(elements):
        network = Network(layout.n_inputs[index], (hidden[0], hidden[1]))
        weights = folder / f"weights.{atomic_numbers[element]:03d}.data"
        _fill(network, _read_weights(weights, network), _to_ours(layout, index), energy)
        networks.append(network)
    baseline = energy * np.array([offsets.get(element, 0.0) for element in elements])
    return Content(elements, functions, ranges, networks, baseline)


def _refuse_unsupported(path: Path, keys: dict[str, list[str]], hidden: tuple[int, ...]) -> None:
    if len(hidden) != 2 or keys.get("global_activation_short", ["t", "t", "l"]) != ["t", "t", "l"]:
        raise UserError(f"{path}: only two hidden layers with activations 't t l' are supported")


def _functions(lines: list[list[str]], cutoff_type: list[str], length: float) -> SymmetryFunctions:
    radial, angular = [], []
    for line in lines:
        cutoff = round(float(line[-1]) * length, 10)
        if line[1] == "2":
            eta, shift = float(line[3]) / length**2, float(line[4]) * length
            radial.append(Radial(cutoff, eta, shift, line[0], line[2]))
        elif line[1] == "3":
            low, high = sorted(line[2:4])
            eta, lam, zeta = float(line[4]) / length**2, int(line[5]), float(line[6])
            angular.append(Angular(cutoff, eta, zeta, lam, line[0], (low, high)))
        else:
            raise ValueError(f"symmetry function of type {line[1]}; only 2 and 3 are supported")
    kind, *alpha = cutoff_type
    return SymmetryFunctions(
        tuple(radial), tuple(angular), Switch(int(kind)), float(alpha[0]) if alpha else 0.0
    )


def _in_n2p2_order(layout: Tables, index: int) -> list[Radial | Angular]:
    """Return the functions of an element in the order in which n2p2's files count them."""
    radial = [f for f in layout.order[index] if isinstance(f, Radial)]
    angular = [f for f in layout.order[index] if isinstance(f, Angular)]
    by_charge = {element: atomic_numbers[element] for element in layout.elements}
    radial.sort(key=lambda f: (f.cutoff, f.eta, f.shift, by_charge[f.neighbour]))
    angular.sort(key=lambda f: (f.cutoff, f.eta, f.zeta, f.lam, *sorted(by_charge[n] for n in f.neighbours)))
    return [*radial, *angular]


def _to_ours(layout: Tables, index: int) -> np.ndarray:
    """Return for each of our inputs its place in n2p2's order."""
    place = {function: position for position, function in enumerate(_in_n2p2_order(layout, index))}
    return np.array([place[function] for function in layout.order[index]], dtype=int)


def _read_scaling(path: Path, layout: Tables, elements: tuple[str, ...]) -> Scaling:
    rows = [line.split() for line in _text(path).splitlines() if line.strip() and line.strip()[0] != "#"]
    by_charge = sorted(elements, key=lambda element: atomic_numbers[element])
    low, high = [], []
    for index, element in enumerate(elements):
        mine = [row for row in rows if len(row) >= 4 and int(row[0]) == by_charge.index(element) + 1]
        if len(mine) != layout.n_inputs[index]:
            raise UserError(
                f"{path}: {len(mine)} symmetry functions of {element}, but input.nn has "
                f"{layout.n_inputs[index]}"
            )
        values = np.array([[float(row[2]), float(row[3])] for row in mine])[_to_ours(layout, index)]
        low.append(values[:, 0].copy())
        high.append(values[:, 1].copy())
    return Scaling(low, high)


def _read_weights(path: Path, network: Network) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"a": [], "b": []}
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[1] in found and not line.lstrip().startswith("#"):
            found[words[1]].append(float(words[0]))
    sizes = (network.n_inputs, *network.hidden, 1)
    n_weights = sum(a * b for a, b in pairwise(sizes))
    if (len(found["a"]), len(found["b"])) != (n_weights, sum(sizes[1:])):
        raise UserError(
            f"{path}: {len(found['a'])} weights and {len(found['b'])} biases, but the functions and nodes of "
            f"input.nn ask for {n_weights} and {sum(sizes[1:])}"
        )
    return found


def _fill(network: Network, found: dict[str, list[float]], order: np.ndarray, energy: float) -> None:
    """Put n2p2's weights (by layer, from each node to all of the next) into our vector, outputs in eV."""
    sizes = (network.n_inputs, *network.hidden, 1)
    parts, weight, bias = [], 0, 0
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        matrix = np.array(found["a"][weight : weight + n_in * n_out]).reshape(n_in, n_out).T
        offset = np.array(found["b"][bias : bias + n_out])
        weight, bias = weight + n_in * n_out, bias + n_out
        if layer == 0:
            matrix = matrix[:, order]
        if layer == 2:
            matrix, offset = energy * matrix, energy * offset
        parts += [matrix.ravel(), offset]
    network.weights = np.concatenate(parts)


def write(
    folder: Path, layout: Tables, ranges: Scaling, networks: list[Network], baseline: np.ndarray
) -> None:
    """Write the three kinds of files, in Å and eV."""
    (folder / INPUT).write_text(_input_text(layout, networks, baseline))
    (folder / SCALING).write_text(_scaling_text(layout, ranges))
    for index, element in enumerate(layout.elements):
        path = folder / f"weights.{atomic_numbers[element]:03d}.data"
        path.write_text(_weights_text(networks[index], _to_ours(layout, index)))


def _input_text(layout: Tables, networks: list[Network], baseline: np.ndarray) -> str:
    lines = [
        OUR_UNITS,
        f"number_of_elements {len(layout.elements)}",
        f"elements {' '.join(sorted(layout.elements, key=lambda e: atomic_numbers[e]))}",
        *(f"atom_energy {e} {value!r}" for e, value in zip(layout.elements, baseline.tolist(), strict=True)),
        f"cutoff_type {layout.switch[0]} {layout.switch[1]!r}",
        "scale_symmetry_functions",
        "scale_min_short 0.0",
        "scale_max_short 1.0",
        "global_hidden_layers_short 2",
        f"global_nodes_short {networks[0].hidden[0]} {networks[0].hidden[1]}",
        "global_activation_short t t l",
    ]
    for index in range(len(layout.elements)):
        for f in _in_n2p2_order(layout, index):
            if isinstance(f, Radial):
                lines.append(
                    f"symfunction_short {f.centre} 2 {f.neighbour} {f.eta!r} {f.shift!r} {f.cutoff!r}"
                )
            else:
                pair = " ".join(f.neighbours)
                lines.append(
                    f"symfunction_short {f.centre} 3 {pair} {f.eta!r} {f.lam} {f.zeta!r} {f.cutoff!r}"
                )
    return "\n".join(lines) + "\n"


def _scaling_text(layout: Tables, ranges: Scaling) -> str:
    by_charge = sorted(layout.elements, key=lambda element: atomic_numbers[element])
    lines = []
    for number, element in enumerate(by_charge):
        index = layout.elements.index(element)
        order = np.argsort(_to_ours(layout, index))
        low, high = ranges.low[index][order], ranges.high[index][order]
        for function, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            middle, width = (least + most) / 2, (most - least) / 4
            lines.append(f"{number + 1} {function + 1} {least!r} {most!r} {middle!r} {width!r}")
    return "\n".join(lines) + "\n"


def _weights_text(network: Network, order: np.ndarray) -> str:
    w1, b1, w2, b2, w3, b3 = network.layers()
    place = np.argsort(order)
    lines, count = [], 0
    layers = ((w1[:, place], b1), (w2, b2), (w3[None, :], np.array([b3])))
    for layer, (matrix, bias) in enumerate(layers):
        for source in range(matrix.shape[1]):
            for target in range(matrix.shape[0]):
                count += 1
                value = float(matrix[target, source])
                lines.append(f"{value!r} a {count} {layer} {source + 1} {layer + 1} {target + 1}")
        for target, value in enumerate(bias.tolist()):
            count += 1
            lines.append(f"{value!r} b {count} {layer + 1} {target + 1}")
    return "\n".join(lines) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
