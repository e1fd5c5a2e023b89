"""One trajectory: heat and motion come to their balance at a temperature, then the heat flux is recorded.

Its state is kept every few minutes, so that a trajectory that was ended goes on from there. Positions and
velocities are kept as they are; that the neighbour list then begins anew changes the last digits of forces,
so that a trajectory that went on differs from one in one piece as one of another seed does, and no more.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlip_bench.hardware import available_cores
from mlip_bench.md.driver import TOO_HOT, DynamicsFailed, Simulation
from mlip_bench.md.flux import FluxRecorder
from mlip_bench.measure.conductivity.settings import Settings
from mlip_bench.measure.conductivity.structure import Structure
from mlip_bench.potentials.base import Potential, Progress
from mlip_bench.results import flush_to_disk

# Share of the length that comes before it, at the temperature, and the most (ps).
BEFORE = 0.2
LONGEST_BEFORE_PS = 20.0

# Time (fs) between two samples of the heat flux: a sixth of the fastest period that silicon's has. But not
# every step: a step is a twentieth of a period or less, and a heat flux has twice the frequency of an atom.
INTERVAL_FS = 5.0
FEWEST_STEPS = 2

# Time (fs) between two looks at positions and energy.
BETWEEN_LOOKS_FS = 100.0

# Time (s) between two states that are kept.
KEEP_SECONDS = 120.0
STATE = "state.npz"

GIGAPASCAL = 1e-4  # one bar


@dataclass
class Trajectory:
    """What was recorded of one seed.

    Arrays of samples: ``potential`` and ``convective`` (n, 3) in eV Å/fs, the parts of the heat flux;
    ``temperatures`` (n,) in K. Arrays of looks: ``energies`` (k,) in eV, ``pressures`` (k,) in GPa,
    ``squares`` (k, n_elements) in Å², the mean square displacement of each element since the first sample.
    """

    interval: float
    """Between samples (fs)."""
    between_looks: float
    """(fs)"""
    potential: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    convective: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    temperatures: np.ndarray = field(default_factory=lambda: np.empty(0))
    energies: np.ndarray = field(default_factory=lambda: np.empty(0))
    pressures: np.ndarray = field(default_factory=lambda: np.empty(0))
    squares: np.ndarray = field(default_factory=lambda: np.empty((0, 1)))
    seconds: float = 0.0
    """Time of what was recorded and of what came before, times the cores that it had."""

    def arrays(self) -> dict[str, Any]:
        """Return all of it by name, for a file."""
        return dict(vars(self))

    @classmethod
    def of(cls, arrays: Mapping[str, Any]) -> "Trajectory":
        """Return what :meth:`arrays` gave."""
        found: dict[str, Any] = {name: arrays[name] for name in cls.__dataclass_fields__}
        found |= {name: float(value) for name, value in found.items() if not value.ndim}
        return cls(**found)


class Follower:
    """Displacements of atoms since the beginning, through periodic boundaries."""

    def __init__(self, atoms: Atoms, positions: np.ndarray, moved: np.ndarray | None = None):
        self._cell, self._inverse = np.array(atoms.cell), np.linalg.inv(np.array(atoms.cell))
        self._numbers = atoms.numbers
        self._last = positions
        self.moved = np.zeros_like(positions) if moved is None else moved

    def follow(self, positions: np.ndarray) -> np.ndarray:
        """Take new positions; return the mean square displacement of each element (Å²), rising numbers."""
        steps = (positions - self._last) @ self._inverse
        self.moved = self.moved + (steps - np.round(steps)) @ self._cell
        self._last = positions
        squares = (self.moved**2).sum(axis=1)
        return np.array([squares[self._numbers == number].mean() for number in np.unique(self._numbers)])


def record(
    potential: Potential,
    structure: Structure,
    settings: Settings,
    checkpoint: Path | None,
    progress: Progress,
) -> Trajectory:
    """Return a trajectory of a supercell, going on from what a checkpoint has.

    Raises :class:`DynamicsFailed` where atoms or heat flux go where none should be.
    """
    start = time.perf_counter()
    state, atoms = _read(checkpoint), structure.atoms
    if state is None:
        positions, velocities = balanced(potential, atoms, settings, progress)
        state = {"positions": positions, "velocities": velocities, "moved": np.zeros_like(positions)}
    now = atoms.copy()
    now.positions = state["positions"]
    ensemble = "nvt" if settings.field else "nve"
    # Through the bridge, where one evaluation gives forces and flux.
    with Simulation(
        *(potential, now, settings.seed, ensemble, settings.temperature, settings.timestep),
        native=False,
        cores=len(available_cores()),
    ) as simulation:
        simulation.set_velocities(state["velocities"])
        recording = recorder_of(simulation, structure, settings)
        follower = Follower(now, simulation.positions(), state["moved"])
        return _advance(simulation, recording, follower, state, settings, checkpoint, start, progress)


def recorder_of(simulation: Simulation, structure: Structure, settings: Settings) -> FluxRecorder:
    """Begin to record the heat flux, at equilibrium or driven by a field."""
    every = steps_between_samples(settings)
    if not settings.field:
        return simulation.record_flux(every=every)
    field = settings.field * np.eye(3)[settings.axis]
    return simulation.drive(field, convective=not structure.is_crystal, every=every)


def balanced(
    potential: Potential, atoms: Atoms, settings: Settings, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (Å) and velocities (Å/fs) from dynamics at the temperature."""
    n_steps = round(min(BEFORE * settings.length, LONGEST_BEFORE_PS) * 1e3 / settings.timestep)
    # Of the initial velocities' energy the lattice takes half.
    with Simulation(
        *(potential, atoms, settings.seed, "nvt", 2 * settings.temperature, settings.timestep),
        native=False,
        cores=len(available_cores()),
    ) as simulation:
        simulation.switch("nvt", settings.temperature)
        stride = _steps(BETWEEN_LOOKS_FS, settings)
        for done in range(0, n_steps, stride):
            simulation.run(stride)
            _refuse_heat(simulation, settings.temperature)
            progress(0.0, f"balance at {settings.temperature:g} K: {100 * done / n_steps:.0f} %")
        return simulation.positions(), simulation.velocities()


def _advance(
    simulation: Simulation,
    recording: FluxRecorder,
    follower: Follower,
    state: dict[str, Any],
    settings: Settings,
    checkpoint: Path | None,
    start: float,
    progress: Progress,
) -> Trajectory:
    """Run to the end of the length, looking and keeping the state on the way."""
    every = steps_between_samples(settings)
    stride = every * max(1, round(_steps(BETWEEN_LOOKS_FS, settings) / every))  # of whole samples
    before = (
        Trajectory.of(state)
        if "interval" in state
        else Trajectory(recording.interval, stride * settings.timestep)
    )
    looks: list[tuple[float, float, np.ndarray]] = []
    n_looks = max(1, round(settings.length * 1e3 / (stride * settings.timestep)))
    kept_at = time.perf_counter()
    for look in range(len(before.energies) + 1, n_looks + 1):
        simulation.run(stride)
        _refuse_heat(simulation, settings.temperature)
        squares = follower.follow(simulation.positions())
        looks.append((simulation.thermo("etotal"), simulation.thermo("press") * GIGAPASCAL, squares))
        progress(look / n_looks, f"{look * stride * settings.timestep / 1e3:.3g} ps")
        is_due = look == n_looks or time.perf_counter() - kept_at > KEEP_SECONDS
        if checkpoint is not None and is_due:
            kept_at = time.perf_counter()
            whole = _joined(before, recording, looks, _core_seconds(start))
            _write(checkpoint, simulation, follower, whole)
    return _joined(before, recording, looks, _core_seconds(start))


def _core_seconds(start: float) -> float:
    """Return how long it is since a time, for each of the cores that this process may use."""
    return len(available_cores()) * (time.perf_counter() - start)


def _joined(
    before: Trajectory, recording: FluxRecorder, looks: list[tuple[float, float, np.ndarray]], seconds: float
) -> Trajectory:
    """Return what was there before and what was recorded since."""
    if not looks:  # it was ended after its last state
        return before
    energies, pressures, squares = (np.array(column) for column in zip(*looks, strict=True))
    n_elements = squares.shape[1]
    return Trajectory(
        before.interval,
        before.between_looks,
        np.concatenate([before.potential, recording.potential]),
        np.concatenate([before.convective, recording.convective]),
        np.concatenate([before.temperatures, recording.temperatures]),
        np.concatenate([before.energies, energies]),
        np.concatenate([before.pressures, pressures]),
        np.concatenate([before.squares.reshape(-1, n_elements), squares]),
        before.seconds + seconds,
    )


def steps_between_samples(settings: Settings) -> int:
    """Return how many steps lie between two samples of the heat flux."""
    return max(FEWEST_STEPS, _steps(INTERVAL_FS, settings))


def _steps(time_fs: float, settings: Settings) -> int:
    return max(1, round(time_fs / settings.timestep))


def _refuse_heat(simulation: Simulation, temperature: float) -> None:
    found = simulation.thermo("temp")
    if not found <= TOO_HOT * temperature:
        raise DynamicsFailed(f"it heated to {found:.3g} K, where {temperature:g} K were asked for")


def _read(checkpoint: Path | None) -> dict[str, Any] | None:
    if checkpoint is None or not (checkpoint / STATE).is_file():
        return None
    with np.load(checkpoint / STATE) as file:
        return dict(file)


def _write(checkpoint: Path, simulation: Simulation, follower: Follower, whole: Trajectory) -> None:
    """Keep positions, velocities and what was recorded, never in part."""
    partial = checkpoint / f".{STATE}.partial"
    with partial.open("wb") as file:
        np.savez(
            file,
            positions=simulation.positions(),
            velocities=simulation.velocities(),
            moved=follower.moved,
            **whole.arrays(),
        )
    flush_to_disk(partial)
    partial.replace(checkpoint / STATE)
