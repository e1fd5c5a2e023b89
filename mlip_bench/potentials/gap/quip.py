"""QUIP's own programs: ``gap_fit``, which our fit is compared with, and its calculator."""

import os
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlip_bench.data import reference, voigt
from mlip_bench.data.geometry import in_periodic_box
from mlip_bench.errors import UserError
from mlip_bench.potentials.base import Prediction, Progress
from mlip_bench.potentials.gap.files import XML
from mlip_bench.potentials.gap.fitting import Sigmas
from mlip_bench.potentials.memory import refuse_too_much

# gap_fit reads its seed as a Fortran integer of four bytes.
LARGEST_SEED = 2**31 - 2

# Shares of a fit's time: sparse points are chosen, then covariance matrices take nearly all.
CHOSEN, COVERED = 0.05, 0.90


@dataclass(frozen=True)
class Order:
    """What ``gap_fit`` is to fit."""

    descriptors: Sequence[str]
    """With their kernels and sparse points."""
    zeros: Mapping[str, float]
    """Energy (eV) of each element that is no part of the fit."""
    reach: float
    """Largest cutoff (Å)."""
    sigmas: Sigmas
    seed: int


def fit(order: Order, structures: Sequence[Atoms], progress: Progress) -> dict[str, bytes]:
    """Run ``gap_fit`` on structures with whole energies; return the XML and its side files."""
    has_virial = order.sigmas.virial > 0 and any(reference.stress(a) is not None for a in structures)
    with tempfile.TemporaryDirectory(prefix="mlip-bench-") as name:
        folder = Path(name)
        _write_training_file(folder / "train.extxyz", structures, order.reach)
        _run_gap_fit(_arguments(order, has_virial), folder, len(structures), len(order.descriptors), progress)
        return {path.name: path.read_bytes() for path in folder.glob(f"{XML}*") if path.suffix != ".idx"}


def _arguments(order: Order, has_virial: bool) -> dict[str, object]:
    sigmas = order.sigmas
    energies = ":".join(f"{element}:{energy:.12f}" for element, energy in order.zeros.items())
    virial = sigmas.virial if has_virial else 1.0
    # Braces are doubled within others.
    descriptors = " : ".join(order.descriptors).replace("{", "{{").replace("}", "}}")
    return {
        "atoms_filename": "train.extxyz",
        "gap": f"{{{descriptors}}}",
        "e0": f"{{{energies}}}",
        "default_sigma": f"{{{sigmas.energy} {sigmas.force} {virial} 0.0}}",
        "energy_parameter_name": "ref_energy",
        "force_parameter_name": "ref_forces",
        "virial_parameter_name": "ref_virial" if has_virial else "no_virial",
        "sparse_jitter": sigmas.jitter,
        "do_copy_atoms_file": "F",
        "sparse_separate_file": "T",
        "gap_file": XML,
        # gap_fit takes its seed from the clock for values below 0, and 0 gives no sequence.
        "rnd_seed": order.seed % LARGEST_SEED + 1,
    }


@contextmanager
def refusals() -> Iterator[None]:
    """Turn QUIP's complaint about a file or a structure into one sentence."""
    try:
        yield
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).encode("ascii", "ignore").decode().splitlines()]
        # Where in its sources QUIP stopped says nothing to users.
        said = [line for line in lines if line and not line.startswith(("Traceback", 'File "'))]
        raise UserError(f"gap: QUIP refuses this potential: {'; '.join(said)}") from error


def single_point(calculator: Calculator, atoms: Atoms) -> Prediction:
    """Run QUIP's calculator on a copy of a structure."""
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    with_stress = atoms.cell.rank == 3
    with refusals():
        calculator.calculate(bare, ["energy", "energies", "forces", *(["stress"] if with_stress else [])])
    results = calculator.results
    stress = np.array(results["stress"]) if with_stress else np.full(6, np.nan)
    forces = np.array(results["forces"]).reshape(-1, 3)
    return Prediction(float(results["energy"]), forces, stress, energies=np.array(results["energies"]))


def _write_training_file(path: Path, structures: Sequence[Atoms], cutoff: float) -> None:
    """Write energies (eV), forces (eV/Å) and virials (eV, minus stress times volume) for ``gap_fit``.

    It treats every frame as periodic and passes over energies of frames without a cell, so directions
    without periodicity get vacuum.
    """
    frames = []
    for atoms in structures:
        frame = in_periodic_box(atoms, cutoff)
        frame.info["ref_energy"] = reference.energy(atoms)
        frame.arrays["ref_forces"] = reference.forces(atoms)
        stress = reference.stress(atoms)
        if stress is not None:
            virial = -atoms.get_volume() * voigt.to_matrix(stress)
            # As nine numbers: ASE would write a matrix as JSON, which gap_fit passes over in silence.
            frame.info["ref_virial"] = " ".join(f"{value:.12f}" for value in virial.ravel())
        frames.append(frame)
    ase.io.write(path, frames, format="extxyz")


def _run_gap_fit(
    arguments: dict[str, object], folder: Path, n_structures: int, n_descriptors: int, progress: Progress
) -> None:
    """Run the ``gap_fit`` program of the quippy package in ``folder``."""
    import quippy

    program = Path(quippy.__path__[0]) / "gap_fit"
    # gfortran holds output back in a pipe unless told otherwise.
    environment = os.environ | {"GFORTRAN_UNBUFFERED_PRECONNECTED": "y"}
    command = [str(program), *(f"{key}={value}" for key, value in arguments.items())]
    report = _ProgressReader(n_descriptors, progress)
    last_lines: deque[str] = deque(maxlen=3)
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            for line in _lines(process):
                last_lines.append(line)
                _refuse_if_too_large(line)
                _refuse_lost_energies(line, n_structures)
                report.read(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RuntimeError(f"gap_fit ended with code {process.returncode}: {'; '.join(last_lines)}")


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield the lines of a program's output until it ends; progress bars end in a carriage return."""
    assert process.stdout is not None
    rest = b""
    while chunk := process.stdout.read1(65536):  # type: ignore[attr-defined]  # a buffered reader has it
        *lines, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (line.decode(errors="replace") for line in lines if line.strip())
    process.wait()
    if rest.strip():
        yield rest.decode(errors="replace")


class _ProgressReader:
    """Turns what gap_fit prints into the share of the work that is done."""

    def __init__(self, n_descriptors: int, progress: Progress):
        self._n_descriptors = n_descriptors
        self._progress = progress
        self._n_covered = 0

    def read(self, line: str) -> None:
        """Take one line of output."""
        percent = re.match(r"Covariance matrix\s+(\d+)%", line)
        if line.startswith("Started CUR"):
            self._progress(0.0, "choosing sparse points")
        elif percent:
            self._covering(int(percent[1]) / 100)
        elif line.startswith("Finished sparse covariance"):
            self._covering(1.0)
            self._n_covered += 1
        elif line.startswith("Using LAPACK"):
            self._progress(COVERED, "solving")

    def _covering(self, share: float) -> None:
        done = min((self._n_covered + share) / self._n_descriptors, 1.0)
        self._progress(CHOSEN + (COVERED - CHOSEN) * done, f"covariance matrix {100 * done:.0f} %")


def _refuse_if_too_large(line: str) -> None:
    """Stop before the large allocations where gap_fit's own estimate exceeds the memory of the machine."""
    peak = re.match(r"PEAK\s+(\d+)\s+(KB|MB|GB|TB)", line)
    if not peak:
        return
    needed = int(peak[1]) * {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[peak[2]]
    advice = "lower gap.l_max, gap.n_max or gap.cutoff, or train on fewer structures"
    refuse_too_much("gap", needed, advice)


def _refuse_lost_energies(line: str, n_structures: int) -> None:
    """Stop where gap_fit did not take every energy that it was given."""
    found = re.match(r"Number of target energies .* found: (\d+)", line)
    if found and int(found[1]) != n_structures:
        raise RuntimeError(f"gap_fit read {found[1]} energies of {n_structures} structures")
