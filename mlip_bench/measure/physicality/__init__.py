"""Whether a potential is physical where no error is measured: far from its data.

Two atoms alone and pushed together (``pairs``), the crystal compressed and dilated and its elements in other
places (``strains``), random starts that come to rest (``quench``), smoothness, extensivity and locality
(``locality``). Each number has a meaning of its own (``METRICS``); what no potential of matter may do is in
``limits``, and how many of these were found is one more number.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.data import reference
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.md import boxes
from mlip_bench.measure import crystals
from mlip_bench.measure.base import ROOM, Found, Measure, Metric, Options, Subject, Value, beside
from mlip_bench.measure.physicality import limits, locality, pairs, quench, strains
from mlip_bench.potentials.base import Potential, Progress

# Random starts of each preset.
STARTS = {"quick": 1, "standard": 2, "paper": 4, "tuned": 2}

# Atoms of the structure in which two are pushed together, at least: none is its own neighbour.
PUSHED_ATOMS = 16

METRICS = {
    "unphysical": Metric("1", "findings that no potential of matter has: see the note"),
    "shortest": Metric("Å", "shortest distance in training", None),
    "dimer_turn": Metric("Å", "a dimer attracts again from here down, below training; 0 never"),
    "wells": Metric("1", "minima of a dimer's energy from 0.5 Å to the cutoff", None),
    "wall": Metric("eV", "highest energy of a dimer from 0.5 Å to the shortest of training", False),
    "bond_length": Metric("Å", "distance of least energy of a dimer", None),
    "bond_energy": Metric("eV", "depth of a dimer's energy below its atoms apart", None),
    "pushed_turn": Metric("Å", "two atoms pushed together attract again from here down; 0 never"),
    "compression_turn": Metric("1", "volume, over the crystal's, below which the energy falls; 0 never"),
    "dilation_turn": Metric("1", "volume, over the crystal's, beyond which the energy falls; 0 never"),
    "lowest_pressure": Metric("GPa", "lowest pressure of the crystal compressed to a fifth", False),
    "quench_distance": Metric(
        "1", "nearest atoms of quenched random starts over training's nearest, or a bond's length", False
    ),
    "quench_energy": Metric("eV/atom", "energy of quenched random starts above the crystal's", None),
    "roughness": Metric("1", "change of the curvature with its step, over the largest curvature"),
    "work_mismatch": Metric("meV/atom", "energy along a path against the work of the forces"),
    "copy_energy": Metric("meV/atom", "energy of two copies against twice that of one"),
    "copy_force": Metric("meV/Å", "largest change of a force by a copy far away"),
    "response_range": Metric("Å", "how far forces feel an atom that moves by 0.05 Å", None),
    "response_beyond": Metric("meV/Å", "what they feel of it beyond the potential's reach"),
    "exchange_energy": Metric(
        "eV/atom", "energy of the crystal with as many atoms of two elements exchanged as of the rarer", None
    ),
    "decomposition_energy": Metric("eV/atom", "energy of its elements apart, face-centred cubic", None),
}

UNKNOWN_TRAINING = "the training data is not known, so distances are compared with those of the structure"

# What needs a crystal.
OF_CRYSTAL = (
    "compression_turn",
    "dilation_turn",
    "lowest_pressure",
    "quench_distance",
    "quench_energy",
    "response_range",
    "response_beyond",
)


def options(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options; raises UserError where one is wrong."""
    found: dict[str, Any] = {"starts": STARTS.get(preset, STARTS["standard"])} | dict(given)
    if found["starts"] < 1:
        raise UserError(f"--starts {found['starts']}: at least one random start is needed")
    return found


def compute(
    potential: Potential,
    atoms: Atoms,
    chosen: Options,
    progress: Progress,
    train: Sequence[Atoms] | None = None,
) -> Found:
    """Measure a potential on a structure; what needs a crystal is left out of another, with a sentence.

    Without ``train``, distances are compared with those of the structure, which is said.
    """
    of_data = [atoms, *(train or [])]
    elements = [symbol for symbol in reference.elements(of_data) if symbol in potential.elements_]
    of_training = pairs.shortest_distances([atoms] if train is None else train, elements)
    box = in_periodic_box(atoms, ROOM)
    found = [
        Found([Value("shortest", value, group=pairs.name_of(pair)) for pair, value in of_training.items()]),
        pairs.dimers(potential, elements, of_training),
    ]
    progress(0.3, "dimers")
    found.append(pairs.pushed(potential, boxes.repeated_to(box, PUSHED_ATOMS), of_training))
    found.append(locality.path(potential, box))
    found.append(Found(locality.extensive(potential, box)))
    progress(0.5, "pushed together, smoothness and extensivity")
    if atoms.pbc.all():
        found.append(_of_crystal(potential, atoms, of_training, chosen["starts"], progress))
    else:
        reason = "needs a crystal, periodic in three directions, and there is none"
        found.append(Found([Value(metric, np.nan, error=f"{metric} {reason}") for metric in OF_CRYSTAL]))
    values = [_finite(value) for one in found for value in one.values]
    sentences = limits.passed(values) + limits.broken(values)
    said = [*sentences, *([UNKNOWN_TRAINING] if train is None else [])]
    values.insert(0, Value("unphysical", len(sentences), note="; ".join(said) or None))
    return Found(values, {key: array for one in found for key, array in one.curves.items()})


def _finite(value: Value) -> Value:
    """Return a value, or where it is not finite one that says so."""
    if value.error is not None or np.isfinite(value.value):
        return value
    return dataclasses.replace(value, value=np.nan, error=f"{value.metric} is {limits.NOT_FINITE}")


def _of_crystal(
    potential: Potential,
    atoms: Atoms,
    of_training: Mapping[pairs.Pair, float],
    n_starts: int,
    progress: Progress,
) -> Found:
    """Return what is measured of a crystal alone."""
    known = crystals.standard(atoms, "physicality")
    crystal = known.primitive
    strained = strains.compressed(potential, crystal)
    answered = locality.response(potential, crystal)
    values = [*strained.values, *answered.values]
    progress(0.6, "compression and locality")
    own = strains.crystal_energy(potential, crystal) if potential.predicts_energy else np.nan
    if potential.predicts_energy and len(set(crystal.numbers)) > 1:
        values += strains.other_compositions(potential, crystal, of_training)
    if of_training:
        quenched = quench.quenched(potential, crystal, own, of_training, n_starts)
        values += quenched if known.has_symmetry else [*map(_without_symmetry, quenched)]
    return Found(values, {**strained.curves, **answered.curves})


def _without_symmetry(value: Value) -> Value:
    """Return a value of a random start, without one that is compared with a crystal's energy."""
    if value.metric != "quench_energy" or value.error is not None:
        return value
    reason = "quench_energy needs a crystal at rest: this structure has no symmetry, as a frame of dynamics"
    return dataclasses.replace(value, value=np.nan, error=reason)


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a fitted potential."""
    data = subject.dataset
    atoms = data.sample if data.crystal is None else data.crystal
    if atoms is None:
        raise UserError("physicality: the data has isolated atoms only; give a structure with --crystal")
    return subject.keep(compute(subject.potential, atoms, subject.options, progress, data.train))


MEASURE = Measure(
    "physicality",
    METRICS,
    run,
    revision=3,
    packages=("ase", "matscipy", "numpy", "spglib"),
    of_training=True,
    of_sample=True,
    options=options,
    sections=beside(__name__),
    cautions=beside(__name__, "cautions"),
    terms=beside(__name__, "terms"),
    told=frozenset({"unphysical"}),
)
