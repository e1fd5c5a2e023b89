"""Whether a potential is physical where no error is measured: far from its data.

Two atoms alone and pushed together (``pairs``), the crystal compressed and dilated and its elements in other
places (``strains``), random starts that come to rest (``quench``), smoothness, extensivity and locality
(``locality``). Each number has a meaning of its own (``METRICS``); what no potential of matter may do is in
``limits``, and how many of these were found is one more number.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlip_bench.errors import UserError
from mlip_bench.md import boxes
from mlip_bench.measure import crystals
from mlip_bench.measure.base import Curves, Found, Measure, Metric, Subject, Value, beside
from mlip_bench.measure.physicality import limits, locality, pairs, quench, strains
from mlip_bench.potentials.base import Progress

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
    "quench_distance": Metric("1", "nearest atoms of quenched random starts over training's nearest", False),
    "quench_energy": Metric("eV/atom", "energy of quenched random starts above the crystal's", None),
    "roughness": Metric("1", "change of the curvature with its step, over the largest curvature"),
    "work_mismatch": Metric("meV/atom", "energy along a path against the work of the forces"),
    "copy_energy": Metric("meV/atom", "energy of two copies against twice that of one"),
    "copy_force": Metric("meV/Å", "largest change of a force by a copy far away"),
    "response_range": Metric("Å", "how far forces feel an atom that moves by 0.05 Å", None),
    "response_beyond": Metric("meV/Å", "what they feel of it beyond the potential's reach"),
    "exchange_energy": Metric("eV/atom", "energy of the crystal with two elements exchanged", None),
    "decomposition_energy": Metric("eV/atom", "energy of its elements apart, face-centred cubic", None),
}

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


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Measure a potential; what needs a crystal is left out where there is none, with a sentence."""
    potential, sample = subject.potential, subject.sample("physicality")
    shortest = pairs.shortest_distances(subject.dataset.train, potential.elements_)
    found = [
        Found([Value("shortest", value, group=pairs.name_of(pair)) for pair, value in shortest.items()]),
        pairs.dimers(potential, shortest),
    ]
    progress(0.3, "dimers")
    found.append(pairs.pushed(potential, boxes.repeated_to(sample, PUSHED_ATOMS), shortest))
    found.append(locality.path(potential, sample))
    found.append(Found(locality.extensive(potential, sample)))
    progress(0.5, "pushed, smoothness and extensivity")
    if subject.dataset.crystal is None:
        reason = "needs a crystal, periodic in three directions, and there is none"
        found.append(Found([Value(metric, np.nan, error=f"{metric} {reason}") for metric in OF_CRYSTAL]))
    else:
        found.append(_of_crystal(subject, shortest, progress))
    values = [_finite(value) for one in found for value in one.values]
    curves: Curves = {key: array for one in found for key, array in one.curves.items()}
    sentences = limits.passed(values)
    note = "; ".join(sentences) or None
    return subject.keep(Found([Value("unphysical", len(sentences), note=note), *values], curves))


def _finite(value: Value) -> Value:
    """Return a value, or where it is not finite one that says so."""
    if value.error is not None or np.isfinite(value.value):
        return value
    return dataclasses.replace(value, value=np.nan, error=f"{value.metric} is not finite")


def _of_crystal(subject: Subject, shortest: Mapping[pairs.Pair, float], progress: Progress) -> Found:
    """Return what is measured of the crystal alone."""
    potential = subject.potential
    crystal = crystals.standard(subject.crystal("physicality"), "physicality").primitive
    strained = strains.compressed(potential, crystal)
    answered = locality.response(potential, crystal)
    values = [*strained.values, *answered.values]
    progress(0.6, "compression and locality")
    own = strains.crystal_energy(potential, crystal) if potential.predicts_energy else np.nan
    if potential.predicts_energy and len(set(crystal.numbers)) > 1:
        values += strains.other_compositions(potential, crystal, shortest)
    if shortest:
        values += quench.quenched(potential, crystal, own, shortest, subject.options["starts"])
    return Found(values, {**strained.curves, **answered.curves})


MEASURE = Measure(
    "physicality",
    METRICS,
    run,
    revision=1,
    packages=("ase", "matscipy", "numpy", "spglib"),
    of_training=True,
    of_sample=True,
    options=options,
    sections=beside(__name__),
)
