"""The files of a GAP, as ``gap_fit`` writes them: QUIP reads them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from ase.data import chemical_symbols

from mlip_bench.potentials.gap.files import (
    DOT_PRODUCT,
    FIRST_VERSION,
    SQUARED_EXPONENTIAL,
    XML,
    Pair,
    Part,
)
from mlip_bench.potentials.gap.pairs import smooth_cutoff

# What the file calls the potential; QUIP finds its parts by it.
LABEL = "GAP"


class Term(NamedTuple):
    """A term as a file has it."""

    descriptor: str
    delta: float
    """Scale δ (eV)."""
    sum: Part | Pair


def compose(terms: Sequence[Term], zeros: Mapping[int, float]) -> dict[str, bytes]:
    """Return the XML of a potential and its side files of sparse points, as :func:`read` does.

    ``zeros`` has the energy (eV) of an isolated atom by atomic number.
    """
    found: dict[str, bytes] = {}
    root = ElementTree.Element(LABEL)
    ElementTree.SubElement(root, "Potential", label=LABEL, init_args=f"IP GAP label={LABEL}")
    params = ElementTree.SubElement(root, "GAP_params", label=LABEL, gap_version=str(FIRST_VERSION))
    data = ElementTree.SubElement(params, "GAP_data", do_core="F")
    for number in range(1, len(chemical_symbols)):
        ElementTree.SubElement(data, "e0", Z=str(number), value=repr(zeros.get(number, 0.0)))
    sparse = ElementTree.SubElement(params, "gpSparse", label=LABEL, n_coordinate=str(len(terms)), fitted="T")
    for index, term in enumerate(terms, start=1):
        name, label = f"{XML}.sparseX.{LABEL}{index}", f"{LABEL}{index}"
        found[name] = "".join(f"{value:.20e}\n" for value in term.sum.points.ravel()).encode()
        checksum = hashlib.md5(found[name], usedforsecurity=False).hexdigest()
        side = {"label": label, "sparseX_filename": name, "sparseX_md5sum": checksum}
        sparse.append(_coordinates(term, side))
    ElementTree.indent(root)
    return {XML: ElementTree.tostring(root)} | found


def _coordinates(term: Term, side: dict[str, str]) -> ElementTree.Element:
    """Return the element of one term, whose sparse points are in a side file."""
    points = term.sum.points.reshape(len(term.sum.points), -1)
    n_sparse, dimensions = points.shape
    found = ElementTree.Element("gpCoordinates", side)
    # What the file calls a variance is δ itself.
    found.attrib |= {
        "dimensions": str(dimensions), "signal_variance": repr(term.delta), "signal_mean": "0.0",
        "sparsified": "T", "n_permutations": "1", "n_sparseX": str(n_sparse),
    }  # fmt: skip
    smooth = np.ones(n_sparse)
    if isinstance(term.sum, Pair):
        pair = term.sum
        smooth, _ = smooth_cutoff(pair.points, pair.cutoff, pair.width)
        found.set("covariance_type", SQUARED_EXPONENTIAL)
        ElementTree.SubElement(found, "theta").text = repr(pair.theta)
    else:
        found.attrib |= {"covariance_type": DOT_PRODUCT, "zeta": repr(float(term.sum.zeta))}
    ElementTree.SubElement(found, "descriptor").text = term.descriptor
    order = " ".join(str(place) for place in range(1, dimensions + 1))
    ElementTree.SubElement(found, "permutation", i="1").text = order
    # A sparse point at the cutoff itself has no covariance, and its coefficient no effect.
    scale = np.where(smooth > 0, term.delta**2 * smooth, np.inf)
    for place, (weight, factor) in enumerate(zip(term.sum.weights / scale, smooth, strict=True), start=1):
        attributes = {"i": str(place), "alpha": repr(float(weight)), "sparseCutoff": repr(float(factor))}
        ElementTree.SubElement(found, "sparseX", attributes)
    return found
