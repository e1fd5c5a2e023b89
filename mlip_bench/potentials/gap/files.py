"""The files of GAP: an XML, and beside it one file of sparse points per descriptor.

What our kernels evaluate are potentials of SOAP descriptors with dot-product kernels of integer powers and of
pair terms with squared-exponential kernels, as :class:`~mlip_bench.potentials.gap.GAP` fits them.
:func:`parts` tells where a file has anything else: other descriptors (three atoms), other radial functions,
kernels that are not normalised, a core potential. QUIP evaluates such a file whole. Refused by name are
descriptors that QUIP does not know, side files that are not those of the XML or not in its folder, and
document types with their entities.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

import numpy as np
from ase.data import chemical_symbols

from mlip_bench.errors import UserError, did_you_mean
from mlip_bench.potentials.base import DESCRIPTION, EXAMPLE
from mlip_bench.potentials.gap.soap import Soap

XML = "potential.xml"

# Keys of a descriptor that our kernels honour, and those that only matter in a fit.
HONOURED = {
    "soap": {
        "cutoff", "cutoff_transition_width", "n_max", "l_max", "atom_sigma", "central_weight",
        "Z", "n_species", "species_Z", "zeta", "covariance_type",
    },
    "distance_2b": {"cutoff", "cutoff_transition_width", "Z1", "Z2", "covariance_type"},
}  # fmt: skip
OF_FITS = {
    "delta", "n_sparse", "sparse_method", "add_species", "config_type_n_sparse", "sparse_file",
    "print_sparse_index", "unique_hash_tolerance", "unique_descriptor_tolerance",
    "theta_uniform", "theta_fac",
}  # fmt: skip
NEEDED = {
    "soap": {"cutoff", "n_max", "l_max", "atom_sigma", "Z", "species_Z"},
    "distance_2b": {"cutoff"},
}

# Descriptors of QUIP that make up energies.
DESCRIPTORS = {
    "soap", "soap_turbo", "soap_express", "distance_2b", "distance_Nb", "angle_3b", "coordination",
    "co_angle_3b", "co_distance_2b", "as_distance_2b", "bispectrum_so3", "bispectrum_so4", "power_so3",
    "power_so4", "behler", "cosnx", "trihis", "alex", "rdf", "bond_real_space", "atom_real_space",
    "water_monomer", "water_dimer", "water_trimer", "A2_dimer", "AB_dimer", "AN_monomer",
    "general_monomer", "general_dimer", "general_trimer", "com_dimer", "molecule_lo_d",
}  # fmt: skip

# Attributes and elements that our kernels honour or that change nothing.
ATTRIBUTES = {
    "GAP_params": {"label", "gap_version", "svn_version"},
    "GAP_data": {"do_core"},
    "gpSparse": {"label", "n_coordinate", "fitted"},
    "gpCoordinates": {
        "label", "dimensions", "signal_variance", "signal_mean", "sparsified", "n_permutations",
        "covariance_type", "zeta", "n_sparseX", "sparseX_filename", "sparseX_md5sum",
    },
    "sparseX": {"i", "alpha", "sparseCutoff", "sliced"},
    "sparseX_slice": {"start", "end"},
    "e0": {"Z", "value"},
    "command_line": set(), "theta": set(), "descriptor": set(), "permutation": {"i"},
}  # fmt: skip

# Version of QUIP from which on the central atom is in the density of its own species only.
FIRST_VERSION = 1426512068

# QUIP's numbers of the squared-exponential and the dot-product kernel.
SQUARED_EXPONENTIAL, DOT_PRODUCT = "1", "2"

# QUIP's width (Å) of the cutoff where a descriptor names none.
TRANSITION_WIDTH = 0.5


@dataclass(frozen=True)
class Part:
    """The energies of the atoms of one element: Σ_k weights_k (p̂ · points_k)^ζ."""

    soap: Soap
    zeta: int
    weights: np.ndarray
    """δ² b_k (eV), (n_sparse,)."""
    points: np.ndarray
    """(n_sparse, components)."""


@dataclass(frozen=True)
class Pair:
    """The energies of pairs: f_cut(r) Σ_k weights_k exp(-(r - points_k)² / 2θ²), from both atoms of each."""

    numbers: tuple[int, int]
    """Atomic numbers of the two; 0 stands for any."""
    cutoff: float
    width: float
    """Over which (Å) f_cut falls from 1 to 0 before the cutoff."""
    theta: float
    """Length θ (Å) of the kernel."""
    weights: np.ndarray
    """δ² b_k f_cut(points_k) (eV), (n_sparse,)."""
    points: np.ndarray
    """Distances (Å), (n_sparse,)."""

    def counts(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Tell which pairs of atomic numbers the term is of."""
        first, second = self.numbers
        is_first, is_second = (one == first) | (first == 0), (other == second) | (second == 0)
        is_turned = ((other == first) | (first == 0)) & ((one == second) | (second == 0))
        return (is_first & is_second) | is_turned


class _Builder(ElementTree.TreeBuilder):
    """Refuses a document type: entities can read other files, or fill the memory."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Refuse; the parser calls this before it expands anything."""
        raise ValueError("it declares a document type, which no GAP has")


def parse(content: bytes, path: Path | str) -> ElementTree.Element:
    """Return the root of an XML; a damaged one, or one with entities, is a :class:`UserError`."""
    try:
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not an XML file that can be read ({error})") from error


def inside(folder: Path, name: str) -> Path:
    """Return the path of a side file; :class:`UserError` where it is not in the folder itself or below it."""
    path = folder / name
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        is_inside = False
    if not is_inside:
        raise UserError(
            f"{path}: this side file of a GAP is outside the folder {folder}; put it beside the XML and name "
            "it there without a path"
        )
    return path


def read(path: Path) -> dict[str, bytes]:
    """Return the XML, under our name for it, and the side files that it names.

    Raises :class:`UserError` that names the side file where it is missing, outside the folder of the XML, or
    not the one whose check sum the XML has.
    """
    try:
        content = path.read_bytes()
        tree = parse(content, path)
        found = {XML: content}
        for one in tree.iter():
            if "sparseX_filename" in one.attrib:
                name = one.attrib["sparseX_filename"]
                found[name] = _side_file(path, name, one.get("sparseX_md5sum", "").strip())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return found


def _side_file(path: Path, name: str, checksum: str) -> bytes:
    side = inside(path.parent, name)
    if not name.strip() or Path(name).name in (XML, DESCRIPTION, EXAMPLE):
        raise UserError(f"{path}: a side file of sparse points cannot be called '{name}'")
    if side.exists() and not side.is_file():
        raise UserError(f"{side}: cannot be read (not a plain file)")
    content = side.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    # QUIP leaves the sum empty, or writes a complaint, where it found no program for it.
    if re.fullmatch("[0-9a-fA-F]{32}", checksum) and found != checksum.lower():
        raise UserError(
            f"{side}: damaged, or of another fit than {path} (MD5 {found}, the XML has {checksum}); copy "
            "both from the same fit"
        )
    return content


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Write the XML and its side files into the folder, and nowhere else."""
    for path, content in [(inside(folder, name), content) for name, content in files.items()]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def zeros(files: dict[str, bytes]) -> dict[int, float]:
    """Return the energy (eV) of an isolated atom by atomic number."""
    tree = parse(files[XML], XML)
    found = {int(one.attrib["Z"]): _number(one.attrib["value"]) for one in tree.iter("e0")}
    if not all(0 < number < len(chemical_symbols) for number in found):
        raise ValueError("the energy of an isolated atom of no element")
    return found


def parts(files: dict[str, bytes], path: Path | str) -> list[Part | Pair] | None:
    """Return the sums that make up the energy, or None where our kernels do not know one of them.

    Raises :class:`UserError`, naming ``path``, where numbers are missing or are none, and where a descriptor
    is none of QUIP's.
    """
    tree = parse(files[XML], path)
    try:
        zeros(files)
        found = [_part(coordinates, files) for coordinates in tree.iter("gpCoordinates")]
        announced = sum(int(sparse.get("n_coordinate", "0")) for sparse in tree.iter("gpSparse"))
        if not found or len(found) != announced:
            raise ValueError(f"it announces {announced} descriptors and has {len(found)}")
        if not _is_plain(tree):
            return None
    except KeyError as error:
        raise UserError(f"{path}: not a GAP that can be read (something has no {error})") from error
    except ValueError as error:
        raise UserError(f"{path}: not a GAP that can be read ({error})") from error
    known = [part for part in found if part is not None]
    return known if len(known) == len(found) else None


def _is_plain(tree: ElementTree.Element) -> bool:
    """Tell whether the file is one GAP and nothing beside it: no core, no sum, no scale, no old version."""
    params, potential = tree.findall("GAP_params"), tree.find("Potential")
    if len(params) != 1 or len(tree) != 2 or potential is None:
        return False
    data = params[0].find("GAP_data")
    return (
        potential.get("init_args") == f"IP GAP label={params[0].get('label')}"
        and int(params[0].get("gap_version", "0")) >= FIRST_VERSION
        and data is not None
        and data.get("do_core", "F") == "F"
        and all(_is_known(one) for one in params[0].iter())
    )


def _is_known(element: ElementTree.Element) -> bool:
    return set(element.attrib) <= ATTRIBUTES.get(element.tag, set()) and element.tag in ATTRIBUTES


def _part(coordinates: ElementTree.Element, files: dict[str, bytes]) -> Part | Pair | None:
    kind, given = descriptor(coordinates.findtext("descriptor") or "")
    weights, points = _weights(coordinates), _points(coordinates, files)
    is_plain = (
        _number(coordinates.get("signal_mean", "0")) == 0
        and coordinates.get("n_permutations", "1") == "1"
        and coordinates.get("sparsified", "T") == "T"
    )
    if given is None or not is_plain:
        return None
    return (
        _soap_part(coordinates, given, weights, points)
        if kind == "soap"
        else _pair(coordinates, given, weights, points)
    )


def _weights(coordinates: ElementTree.Element) -> np.ndarray:
    """Return δ² b_k f_cut(k) of each sparse point, (n_sparse,)."""
    sparse = _in_order(coordinates)
    announced = int(coordinates.attrib["n_sparseX"])
    if announced != len(sparse):
        raise ValueError(f"it announces {announced} sparse points, but has {len(sparse)} coefficients")
    if [int(one.attrib["i"]) for one in sparse] != list(range(1, len(sparse) + 1)):
        raise ValueError(f"its coefficients are not numbered from 1 to {len(sparse)}")
    weights = np.array([_number(one.attrib["alpha"]) * _number(one.attrib["sparseCutoff"]) for one in sparse])
    # What the file calls a variance is δ itself.
    return _number(coordinates.attrib["signal_variance"]) ** 2 * weights


def _in_order(coordinates: ElementTree.Element) -> list[ElementTree.Element]:
    return sorted(coordinates.iter("sparseX"), key=lambda one: int(one.attrib["i"]))


def _points(coordinates: ElementTree.Element, files: dict[str, bytes]) -> np.ndarray:
    """Return the sparse points (n_sparse, dimensions) of a side file, or where there is none of the XML."""
    announced, dimensions = int(coordinates.attrib["n_sparseX"]), int(coordinates.attrib["dimensions"])
    name = coordinates.get("sparseX_filename")
    if name is None:
        where, words = "the XML", [word for one in _in_order(coordinates) for word in _within(one).split()]
    else:
        where, words = f"its side file {name}", files[name].decode(errors="replace").split()
    try:
        points = np.array(words, float)
    except ValueError as error:
        raise ValueError(f"{where} has something other than numbers for sparse points") from error
    if points.size != announced * dimensions or points.size == 0:
        raise ValueError(
            f"{where} has {points.size} numbers of sparse points, not {announced} times {dimensions}"
        )
    if not np.all(np.isfinite(points)):
        raise ValueError(f"{where} has numbers that are not finite")
    return points.reshape(announced, dimensions)


def _within(sparse: ElementTree.Element) -> str:
    """Return the numbers of one sparse point, which long ones have in slices."""
    slices = sorted(sparse.iter("sparseX_slice"), key=lambda one: int(one.attrib["start"]))
    return " ".join(one.text or "" for one in [sparse, *slices])


def _soap_part(
    coordinates: ElementTree.Element, given: dict[str, str], weights: np.ndarray, points: np.ndarray
) -> Part | None:
    soap, zeta = _soap(given), _number(coordinates.get("zeta", "0"))
    is_power = coordinates.get("covariance_type") == DOT_PRODUCT and zeta >= 1 and zeta == int(zeta)
    if soap is None or not is_power:
        return None
    if points.shape[1] != soap.dimensions:
        raise ValueError(f"{points.shape[1]} numbers in each sparse point, not {soap.dimensions}")
    return Part(soap, int(zeta), weights, points)


def _pair(
    coordinates: ElementTree.Element, given: dict[str, str], weights: np.ndarray, points: np.ndarray
) -> Pair | None:
    theta = [_number(word) for word in (coordinates.findtext("theta") or "").split()]
    if coordinates.get("covariance_type") != SQUARED_EXPONENTIAL or points.shape[1] != 1:
        return None
    if len(theta) != 1 or theta[0] <= 0:
        raise ValueError("the pair term has no length theta above 0")
    numbers = int(given.get("Z1", "0")), int(given.get("Z2", "0"))
    cutoff = _above_0(given, "cutoff")
    width = _number(given.get("cutoff_transition_width", str(TRANSITION_WIDTH)))
    if not 0 < width <= cutoff or not all(0 <= number < len(chemical_symbols) for number in numbers):
        return None
    return Pair(numbers, cutoff, width, theta[0], weights, points[:, 0])


def descriptor(text: str) -> tuple[str, dict[str, str] | None]:
    """Return the kind of a descriptor and its keys: None where our kernels do not honour them all.

    Raises ``ValueError`` where there is none, or QUIP does not know its kind.
    """
    kind, _, rest = " ".join(text.split()).partition(" ")
    if kind not in DESCRIPTORS:
        raise ValueError(f"descriptor '{kind}' is unknown{did_you_mean(kind, DESCRIPTORS)}")
    pattern = r"(\w+)=(?:\{+([\d ]*)\}+|([\w.+-]+))(?:\s+|$)"
    pairs = [(key, braces or plain) for key, braces, plain in re.findall(pattern, rest)]
    given = dict(pairs)
    is_all = not re.sub(pattern, "", rest).strip() and len(given) == len(pairs)
    honoured = HONOURED.get(kind, set()) | OF_FITS
    known = is_all and set(given) <= honoured and NEEDED.get(kind, {kind}) <= set(given)
    return kind, given if known else None


def _soap(given: dict[str, str]) -> Soap | None:
    centres, species = ([int(number) for number in given[key].split()] for key in ("Z", "species_Z"))
    # With one species QUIP sees the central atom in its density, whatever its element.
    if len(centres) != 1 or 0 in species or (len(species) == 1 and species != centres):
        return None
    if not all(0 < number < len(chemical_symbols) for number in (*centres, *species)):
        return None
    return Soap(
        centres[0],
        tuple(species),
        _above_0(given, "cutoff"),
        _number(given.get("cutoff_transition_width", str(TRANSITION_WIDTH))),
        int(given["n_max"]),
        int(given["l_max"]),
        _above_0(given, "atom_sigma"),
        _number(given.get("central_weight", "1")),
    )


def elements(tree: ElementTree.Element) -> tuple[str, ...]:
    """Return the elements that have a SOAP or a pair term, in alphabetical order."""
    numbers: set[int] = set()
    for text in _texts(tree):
        if text.split()[:1] in (["soap"], ["distance_2b"]):
            for words in re.findall(r"\bZ[12]?=\{*([\d ]+)", text):
                numbers |= {int(number) for number in words.split()}
    return tuple(sorted(chemical_symbols[number] for number in numbers if 0 < number < len(chemical_symbols)))


def first(tree: ElementTree.Element, kind: str) -> dict[str, str] | None:
    """Return the plain keys of the first descriptor of a kind, and what its kernel has."""
    for coordinates in tree.iter("gpCoordinates"):
        text = coordinates.findtext("descriptor") or ""
        if text.split()[:1] == [kind]:
            given = dict(re.findall(r"(\w+)=([\w.+-]+)", text))
            learnt = {
                "n_sparse": coordinates.get("n_sparseX"),
                "delta": coordinates.get("signal_variance"),
                "theta_uniform": coordinates.findtext("theta"),
            }
            return given | {key: value for key, value in learnt.items() if value is not None}
    return None


def _texts(tree: ElementTree.Element) -> Iterable[str]:
    return (one.text or "" for one in tree.iter("descriptor"))


def _above_0(given: dict[str, str], key: str) -> float:
    value = _number(given[key])
    if value <= 0:
        raise ValueError(f"{key}={given[key]} is not above 0")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not np.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
