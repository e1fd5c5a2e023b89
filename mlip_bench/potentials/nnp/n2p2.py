"""The files of n2p2 and RuNNer: ``input.nn``, ``scaling.data`` and ``weights.ZZZ.data``.

The files do not fix units. Ours say ``# units: angstrom eV``, those of n2p2's authors name them in comments
(``# Length unit : Bohr``); without a word bohr and hartree are taken, RuNNer's own. Functions stand in n2p2's
order: by type, cutoff, η and R_s, or by type, cutoff, η, R_s, ζ and λ, then by nuclear charge.

Whatever the files do to a symmetry function G before the network (minimum and maximum, mean, standard
deviation) is linear, and so is the normalisation of energies and nodes. Both are put into the weights: our
inputs are always 0..1 over the range of training, and outputs are in eV. Normalised lengths change no
function, because η R² has no unit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, pairwise
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.potentials.nnp.keywords import Keywords, Line, number, whole_number
from mlip_bench.potentials.nnp.networks import ACTIVATIONS, Network
from mlip_bench.potentials.symmetry_functions.descriptors import Scaling
from mlip_bench.potentials.symmetry_functions.functions import Angular, Radial, Switch, SymmetryFunctions
from mlip_bench.potentials.symmetry_functions.geometry import Tables, tables

INPUT = "input.nn"
SCALING = "scaling.data"
OUR_UNITS = "# units: angstrom eV"

LENGTHS = {"angstrom": 1.0, "ang": 1.0, "å": 1.0, "a": 1.0, "bohr": Bohr, "a.u": Bohr, "au": Bohr}
ENERGIES = {"ev": 1.0, "hartree": Hartree, "ha": Hartree, "a.u": Hartree, "au": Hartree}

WEIGHTED = (12, 13)
POLYNOMIAL = range(20, 26)


@dataclass
class Content:
    """A potential as its folder describes it, in Å and eV."""

    elements: tuple[str, ...]
    functions: SymmetryFunctions
    ranges: Scaling
    networks: list[Network]
    baseline: np.ndarray
    notes: list[str] = field(default_factory=list)
    """What was assumed in reading, a sentence each."""


@dataclass(frozen=True)
class Units:
    """Units of the files in Å and eV, and where that is known from."""

    length: float
    energy: float
    note: str


def read(folder: Path, units: str = "") -> Content:
    """Read a folder; a missing, truncated or unsupported file is a :class:`UserError` that names it.

    ``units`` are those of the files, such as ``angstrom-eV``; by default what the files say.
    """
    path = folder / INPUT
    text = _text(path)
    keys = Keywords(path, text)
    taken = units_of(path, text, units)
    elements = _elements(keys)
    functions = _functions(keys, elements, taken.length)
    layout = tables(functions, elements)
    for element, n_inputs in zip(elements, layout.n_inputs, strict=True):
        if not n_inputs:
            raise UserError(f"{path}: no symmetry function has {element} as its centre")
    statistics = _read_scaling(folder / SCALING, layout)
    conversion, mean = _normalisation(keys)
    hidden, activations = _shape(keys)
    networks, ranges = [], Scaling([], [])
    for index, element in enumerate(elements):
        weights = folder / f"weights.{atomic_numbers[element]:03d}.data"
        sizes = (layout.n_inputs[index], *hidden, 1)
        layers = _read_layers(weights, sizes, "normalize_nodes" in keys)
        gain, offset = _scale(keys, folder / SCALING, element, statistics[index], text.startswith(OUR_UNITS))
        network = _network(layers, gain, offset, taken.energy / conversion, activations)
        places = _to_ours(layout, index)
        first = network.layers()[0]
        first[:] = first[:, places]
        networks.append(network)
        ranges.low.append(statistics[index][places, 0].copy())
        ranges.high.append(statistics[index][places, 1].copy())
    baseline = taken.energy * (_atom_energies(keys, elements) + mean)
    return Content(elements, functions, ranges, networks, baseline, _notes(keys, taken))


def units_of(path: Path, text: str, wanted: str) -> Units:
    """Return the units that are asked for, or that comments name, or bohr and hartree."""
    if wanted:
        words = wanted.replace("-", " ").split()
        if len(words) != 2:
            raise UserError(f"{path}: units '{wanted}': give length and energy, such as angstrom-eV")
        return Units(*_known_units(path, *words), f"units {wanted}, as asked for")
    if stated := re.search(r"^\s*[#!]\s*units\s*:\s*(\S+)\s+(\S+)", text, re.MULTILINE | re.IGNORECASE):
        note = f"units {stated[1]} and {stated[2]}, as the file says"
        return Units(*_known_units(path, stated[1], stated[2]), note)
    length = re.search(r"^\s*[#!].*length units?\s*[:=]\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    energy = re.search(r"^\s*[#!].*energy units?\s*[:=]\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
    if length and energy:
        note = f"units {length[1]} and {energy[1]}, as comments of the file say"
        return Units(*_known_units(path, length[1], energy[1]), note)
    note = "the file names no units; taken as bohr and hartree (nnp.units names others)"
    return Units(Bohr, Hartree, note)


def _known_units(path: Path, length: str, energy: str) -> tuple[float, float]:
    found = []
    for word, known in ((length, LENGTHS), (energy, ENERGIES)):
        name = word.lower().strip(".,;()")
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(
                f"{path}: unknown unit '{word}'{near}; name others by nnp.units, such as angstrom-eV"
            )
        found.append(known[name])
    return found[0], found[1]


def _notes(keys: Keywords, units: Units) -> list[str]:
    notes = [units.note]
    scale_and_centre = {"scale_symmetry_functions", "center_symmetry_functions"}
    used = sorted(name for name in scale_and_centre if name in keys)
    if "scale_symmetry_functions_sigma" in keys and used:
        notes.append(
            f"scale_symmetry_functions_sigma is without effect beside {' and '.join(used)}, as in n2p2"
        )
    return notes


def _elements(keys: Keywords) -> tuple[str, ...]:
    elements = tuple(sorted(keys.words("elements")))
    for element in elements:
        if element not in atomic_numbers or element == "X":
            raise UserError(f"{keys.path}: '{element}' in 'elements' is no chemical element")
    if not elements or len(set(elements)) != len(elements):
        raise UserError(f"{keys.path}: 'elements' must name each element once")
    stated = keys.number("number_of_elements", float(len(elements)))
    if stated != len(elements):
        raise UserError(f"{keys.path}: number_of_elements is {stated:g}, but 'elements' has {len(elements)}")
    return elements


def _atom_energies(keys: Keywords, elements: Sequence[str]) -> np.ndarray:
    energies = np.zeros(len(elements))
    seen = set()
    for line in keys.lines("atom_energy"):
        if len(line.words) < 2 or line.words[0] not in elements or line.words[0] in seen:
            raise UserError(
                f"{line.where}: 'atom_energy' asks for one of the elements and a number, once each"
            )
        seen.add(line.words[0])
        energies[elements.index(line.words[0])] = number(line.where, line.words[1])
    return energies


def _normalisation(keys: Keywords) -> tuple[float, float]:
    """Return conv_energy and mean_energy: energies of the network are (E / n - mean) · conv."""
    names = ("mean_energy", "conv_energy", "conv_length")
    given = [name for name in names if name in keys]
    if not given:
        return 1.0, 0.0
    if missing := [name for name in names if name not in keys]:
        raise UserError(f"{keys.path}: '{given[0]}' without '{missing[0]}'; n2p2 asks for all three or none")
    mean, energy, length = (keys.number(name) for name in names)
    if energy <= 0 or length <= 0:
        raise UserError(f"{keys.path}: conv_energy and conv_length must be above 0")
    return energy, mean


def _shape(keys: Keywords) -> tuple[list[int], list[str]]:
    """Return the nodes of the hidden layers and the activation functions of hidden and output layers."""
    where = str(keys.path)
    hidden = [whole_number(where, word) for word in keys.words("global_nodes_short")]
    activations = keys.words("global_activation_short", ["t"] * len(hidden) + ["l"])
    n_layers = keys.number("global_hidden_layers_short", float(len(hidden)))
    if n_layers != len(hidden) or len(activations) != len(hidden) + 1 or min(hidden, default=0) < 1:
        raise UserError(
            f"{where}: global_hidden_layers_short ({n_layers:g}), global_nodes_short ({len(hidden)} layers) "
            f"and global_activation_short ({len(activations)}, one for the output) do not fit together"
        )
    if len(hidden) not in (1, 2):
        raise UserError(
            f"{where}: global_hidden_layers_short {len(hidden)} is not supported, only 1 and 2 are"
        )
    for letter in activations:
        if letter not in ACTIVATIONS:
            known = did_you_mean(letter, ACTIVATIONS)
            raise UserError(f"{where}: global_activation_short '{letter}' is not supported{known}")
    if activations[-1] != "l":
        raise UserError(
            f"{where}: global_activation_short '{' '.join(activations)}' is not supported: the output must "
            "be 'l'"
        )
    return hidden, activations


# -- symmetry functions --------------------------------------------------------------------------------


def _functions(keys: Keywords, elements: Sequence[str], length: float) -> SymmetryFunctions:
    found: list[Radial | Angular] = []
    for line in _expanded(keys, elements):
        found.append(_function(line, elements, length))
    if not found:
        raise UserError(f"{keys.path}: not a complete input.nn, 'symfunction_short' is missing")
    kind, alpha = _switch(keys)
    radial = tuple(f for f in found if isinstance(f, Radial))
    return SymmetryFunctions(radial, tuple(f for f in found if isinstance(f, Angular)), kind, alpha)


def _expanded(keys: Keywords, elements: Sequence[str]) -> list[Line]:
    """Return a line for each function: RuNNer can ask for all combinations of elements at once."""
    lines = list(keys.lines("symfunction_short"))
    short = [
        Line(line.where, [e, *line.words])
        for line in keys.lines("global_symfunction_short")
        for e in elements
    ]
    for line in [*short, *keys.lines("element_symfunction_short")]:
        if len(line.words) < 2:
            raise UserError(f"{line.where}: a symmetry function asks for a type and its parameters")
        centre, kind, *rest = line.words
        n_neighbours = 1 if kind == "2" else 2
        for neighbours in combinations_with_replacement(elements, n_neighbours):
            lines.append(Line(line.where, [centre, kind, *neighbours, *rest]))
    return lines


def _switch(keys: Keywords) -> tuple[Switch, float]:
    kind, *rest = keys.words("cutoff_type", ["1"]) or [""]
    if kind not in {str(int(switch)) for switch in Switch}:
        raise UserError(f"{keys.path}: cutoff_type '{kind}' is not supported, only 0 to {max(Switch)} are")
    alpha = number(str(keys.path), rest[0]) if rest else 0.0
    if "cutoff_alpha" in keys:
        if rest and alpha != keys.number("cutoff_alpha"):
            raise UserError(f"{keys.path}: cutoff_alpha differs from the inner cutoff of cutoff_type")
        alpha = keys.number("cutoff_alpha")
    if not 0 <= alpha < 1:
        raise UserError(f"{keys.path}: the inner cutoff α = {alpha:g} must be from 0 to below 1")
    return Switch(int(kind)), alpha


def _function(line: Line, elements: Sequence[str], length: float) -> Radial | Angular:
    where, words = line
    kind = whole_number(where, words[1]) if len(words) > 1 else 0
    if kind not in (2, 3, 9):
        what = " (weighted)" if kind in WEIGHTED else " (polynomial)" if kind in POLYNOMIAL else ""
        raise UserError(f"{where}: symmetry function of type {kind}{what}; only 2, 3 and 9 are supported")
    named = [words[0], *words[2 : 3 if kind == 2 else 4]]
    values = [number(where, word) for word in words[1 + len(named) :]]
    if len(values) not in ((3,) if kind == 2 else (4, 5)):
        raise UserError(f"{where}: symmetry function of type {kind} with {len(values)} parameters")
    if foreign := [element for element in named if element not in elements]:
        raise UserError(f"{where}: '{foreign[0]}' is not among the elements {', '.join(elements)}")
    if kind == 2:
        eta, shift, cutoff = values
    else:
        eta, lam, zeta, cutoff, shift = (*values, 0.0)[:5]
        if abs(lam) > 1 or zeta < 1:
            raise UserError(f"{where}: λ = {lam:g} and ζ = {zeta:g}: only |λ| ≤ 1 and ζ ≥ 1 are supported")
    if cutoff <= 0:
        raise UserError(f"{where}: the cutoff {cutoff:g} must be above 0")
    cutoff, eta, shift = round(cutoff * length, 10), eta / length**2, shift * length
    if kind == 2:
        return Radial(cutoff, eta, shift, named[0], named[1])
    low, high = sorted(named[1:])
    return Angular(cutoff, eta, zeta, lam, named[0], (low, high), shift, kind == 9)


def _in_n2p2_order(layout: Tables, index: int) -> list[Radial | Angular]:
    """Return the functions of an element in the order in which n2p2's files count them."""
    radial = [f for f in layout.order[index] if isinstance(f, Radial)]
    angular = [f for f in layout.order[index] if isinstance(f, Angular)]
    by_charge = {element: atomic_numbers[element] for element in layout.elements}
    radial.sort(key=lambda f: (f.cutoff, f.eta, f.shift, by_charge[f.neighbour]))
    angular.sort(
        key=lambda f: (
            *(f.wide, f.cutoff, f.eta, f.shift, f.zeta, f.lam),
            *sorted(by_charge[n] for n in f.neighbours),
        )
    )
    return [*radial, *angular]


def _to_ours(layout: Tables, index: int) -> np.ndarray:
    """Return for each of our inputs its place in n2p2's order; equal functions stand in any."""
    places: dict[Radial | Angular, list[int]] = {}
    for position, function in enumerate(_in_n2p2_order(layout, index)):
        places.setdefault(function, []).append(position)
    return np.array([places[function].pop(0) for function in layout.order[index]], dtype=int)


# -- scaling.data and weights --------------------------------------------------------------------------


def _read_scaling(path: Path, layout: Tables) -> list[np.ndarray]:
    """Return minimum, maximum, mean and standard deviation (NaN where missing) of each function, (n, 4)."""
    rows = [line.split("#")[0].split("!")[0].split() for line in _text(path).splitlines()]
    by_charge = sorted(layout.elements, key=lambda element: atomic_numbers[element])
    statistics = []
    for element, n_inputs in zip(layout.elements, layout.n_inputs, strict=True):
        place = by_charge.index(element) + 1
        mine = [row for row in rows if len(row) >= 4 and number(str(path), row[0]) == place]
        if len(mine) != n_inputs:
            raise UserError(
                f"{path}: {len(mine)} symmetry functions of {element}, but input.nn has {n_inputs}"
            )
        mine.sort(key=lambda row: whole_number(str(path), row[1]))
        if [whole_number(str(path), row[1]) for row in mine] != list(range(1, n_inputs + 1)):
            raise UserError(
                f"{path}: the symmetry functions of {element} are not numbered from 1 to {n_inputs}"
            )
        values = [[number(str(path), word) for word in row[2:6]] for row in mine]
        statistics.append(np.array([row + [np.nan] * (4 - len(row)) for row in values]))
        if (statistics[-1][:, 0] > statistics[-1][:, 1]).any():
            raise UserError(f"{path}: a minimum of {element} is above its maximum")
    return statistics


def _scale(
    keys: Keywords, path: Path, element: str, statistics: np.ndarray, ours: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return gain and offset of each function: the network sees gain · x + offset, x = 0..1 over its range.

    n2p2's five ways (its manual, keywords ``scale_symmetry_functions`` and the following).
    """
    low, high, mean, sigma = statistics.T
    width = np.where(high > low, high - low, 1.0)
    low_end, high_end = keys.number("scale_min_short", 0.0), keys.number("scale_max_short", 1.0)
    scaled, centred = "scale_symmetry_functions" in keys, "center_symmetry_functions" in keys
    by_sigma = "scale_symmetry_functions_sigma" in keys and not scaled and not centred
    if (centred or by_sigma) and np.isnan(mean).any():
        raise UserError(f"{path}: no mean values of {element} to centre with")
    if by_sigma and not (sigma > 0).all():
        raise UserError(f"{path}: not all standard deviations of {element} are above 0")
    if scaled and not ours and not (high > low).all():
        raise UserError(f"{path}: a range of {element} is empty, so that it cannot be scaled")
    span = np.full(len(low), high_end - low_end)
    if scaled and centred:
        return span, low_end + span * (low - mean) / width
    if scaled:
        return span, np.full(len(low), low_end)
    if centred:
        return width, low - mean
    if by_sigma:
        return span * width / sigma, low_end + span * (low - mean) / sigma
    return width, low


def _read_layers(path: Path, sizes: tuple[int, ...], normalise: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (n_out, n_in) and biases (n_out,) of each layer, by n2p2's order of functions.

    Each layer has its weights (from each node to all of the next), then its biases. With ``normalise``
    sums are divided by the number of nodes that they come from.
    """
    found: dict[str, list[float]] = {"a": [], "b": []}
    unnamed: list[float] = []
    for line in _text(path).splitlines():
        words = line.split("#")[0].split("!")[0].split()
        if words:
            found.get(words[1] if len(words) > 1 else "", unnamed).append(number(str(path), words[0]))
    n_weights, n_biases = sum(a * b for a, b in pairwise(sizes)), sum(sizes[1:])
    if len(unnamed) == n_weights + n_biases and not found["a"]:
        values = iter(unnamed)
        for n_in, n_out in pairwise(sizes):
            found["a"] += [next(values) for _ in range(n_in * n_out)]
            found["b"] += [next(values) for _ in range(n_out)]
    if (len(found["a"]), len(found["b"])) != (n_weights, n_biases):
        raise UserError(
            f"{path}: {len(found['a'])} weights and {len(found['b'])} biases, but the functions and nodes of "
            f"input.nn ask for {n_weights} and {n_biases}"
        )
    layers, weight, bias = [], 0, 0
    for n_in, n_out in pairwise(sizes):
        divisor = n_in if normalise else 1
        matrix = np.array(found["a"][weight : weight + n_in * n_out]).reshape(n_in, n_out).T
        layers.append((matrix / divisor, np.array(found["b"][bias : bias + n_out]) / divisor))
        weight, bias = weight + n_in * n_out, bias + n_out
    return layers


def _network(
    layers: list[tuple[np.ndarray, np.ndarray]],
    gain: np.ndarray,
    offset: np.ndarray,
    energy: float,
    activations: list[str],
) -> Network:
    """Put what scales inputs and output (to eV) into the layers, and those into a network.

    Of one hidden layer the output becomes a second one of one node.
    """
    (matrix, bias), *others = layers
    layers = [(matrix * gain, bias + matrix @ offset), *others]
    layers[-1] = (energy * layers[-1][0], energy * layers[-1][1])
    if len(layers) == 2:
        layers.append((np.ones((1, 1)), np.zeros(1)))
        activations = [activations[0], "l", "l"]
    weights = np.concatenate([part.ravel() for layer in layers for part in layer])
    hidden = (len(layers[0][1]), len(layers[1][1]))
    return Network(matrix.shape[1], hidden, weights, (activations[0], activations[1]))


# -- writing -------------------------------------------------------------------------------------------


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
        f"global_activation_short {' '.join(networks[0].activations)} l",
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
                    f"symfunction_short {f.centre} {9 if f.wide else 3} {pair} "
                    f"{f.eta!r} {f.lam:.17g} {f.zeta!r} {f.cutoff!r}" + (f" {f.shift!r}" if f.shift else "")
                )
    return "\n".join(lines) + "\n"


def _scaling_text(layout: Tables, ranges: Scaling) -> str:
    by_charge = sorted(layout.elements, key=lambda element: atomic_numbers[element])
    lines = []
    for place, element in enumerate(by_charge, start=1):
        index = layout.elements.index(element)
        order = np.argsort(_to_ours(layout, index))
        low, high = ranges.low[index][order], ranges.high[index][order]
        for function, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            middle, width = (least + most) / 2, (most - least) / 4
            lines.append(f"{place} {function + 1} {least!r} {most!r} {middle!r} {width!r}")
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
