"""Cost in the report: it stands on the first page, beside the errors; here is what a step is made of."""

import math

import pandas as pd

from mlip_bench.measure.cost import MEASURE, on_cores, ranking, ruler_time
from mlip_bench.results import KERNELS, LAMMPS
from mlip_bench.section import tables
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Part, Section, Table, Term
from mlip_bench.section.terms import of_ranking, of_values

# What a step is made of.
PIECES = ["s_per_step_without_rebuild", "s_per_rebuild", "steps_between_rebuilds", "rebuilds", "skin"]

# A ruler whose blocks differ by more than this share was timed on a busy machine.
NOISY_RULER = 0.05


def sections(evidence: Evidence) -> list[Section]:
    """Return what a step is made of, and what it takes on several cores; and warnings."""
    warnings = [*_busy(evidence), *_processors(evidence), *_without_one_core(evidence)]
    measures = [MEASURE.name, on_cores.SEVERAL]
    of_cores = on_cores.table(evidence.rows[evidence.rows["measure"].isin(measures)])
    parts: list[Part] = [one for one in (pieces(evidence), of_cores) if one is not None]
    return [Section("", warnings=warnings, place=0), Section("What a step costs", parts, place=49)]


def pieces(evidence: Evidence) -> Table | None:
    """Return steps without a rebuild, rebuilds, and how often these are; None where nobody measured it."""
    rows = evidence.of(MEASURE.name)
    found = rows[rows["metric"].isin(PIECES)].groupby(["potential", "metric"])["value"].mean().unstack()
    found = found.reindex(columns=PIECES).dropna(subset=["s_per_step_without_rebuild", "skin"])
    cells = []
    for name in (name for name in evidence.shown if name in found.index):
        step, rebuild, steps, count, skin = found.loc[name]
        cells.append([name, f"{1e3 * step:.3g}", *_rebuilding(rebuild, steps, count, step), f"{skin:g}"])
    note = (
        "Milliseconds as they were measured. Of several skins each potential has the one that makes it "
        "cheapest; a rebuild is charged to each step by how many there are between two at equilibrium."
    )
    names = ["potential", "step without rebuild (ms)", "rebuild (ms)", "steps between", "charged", "skin (Å)"]
    return Table(names, cells, note=note, name="rebuilding") if cells else None


def _rebuilding(rebuild: float, steps: float, count: float, step: float) -> list[str]:
    """Return time of a rebuild, steps between two, and the share of a step that is charged for it."""
    if math.isnan(steps):
        return [f"{1e3 * rebuild:.3g}", "nothing moves", "0 %"]
    if math.isnan(rebuild):
        return ["within each step", "1", "100 %"]
    if count == 0:
        return [f"{1e3 * rebuild:.3g}", f"over {steps:.0f}", "0 %"]
    return [f"{1e3 * rebuild:.3g}", f"{steps:.0f}", f"{100 * rebuild / steps / step:.1f} %"]


def note(evidence: Evidence) -> str:
    """Say what the cost of the ranking is that of, and what its µs are."""
    both = ranking.metric_of(LAMMPS) in set(evidence.of(MEASURE.name)["metric"])
    which = (
        "Cost of potentials timed both ways, in LAMMPS's pair style and by mlip-bench's kernels: the cheaper."
    )
    return " ".join(filter(None, (which if both else "", ruler_time.note(evidence.rows))))


def terms(evidence: Evidence) -> list[Term]:
    """Return the ratio to the ruler; timed on several devices, also that on each, which only axes have."""
    label, spec = ranking.RATIO.long_label, ranking.RATIO.spec
    found = [of_ranking(evidence, ranking.METRIC, "cost of a step", label, spec=spec)]
    rows = evidence.of(MEASURE.name)
    ratios = rows[rows["metric"] == ranking.METRIC]
    devices = sorted(ratios["device"].unique())
    for device in devices if len(devices) > 1 else []:
        values = ratios[ratios["device"] == device].groupby("potential")["value"].mean()
        on = f"on {device}"
        found.append(
            of_values(
                values,
                f"{ranking.METRIC}_{device}",
                f"cost {on}",
                f"cost (× ruler), {on}",
                spec=spec,
                decides=False,
            )
        )
    return found


def treated(evidence: Evidence, family: str) -> str:
    """Say whose code was timed."""
    rows = evidence.of(MEASURE.name)
    own = rows[(rows["family"] == family) & rows["metric"].str.startswith(ranking.METRIC)]
    names = [name for name in (LAMMPS, KERNELS) if name in set(own["implementation"])]
    if not names:
        return ""
    if len(names) > 1:
        return f"Timed {ranking.CALLED[LAMMPS]} and {ranking.CALLED[KERNELS]}: the cheaper counts."
    through = ", driven by LAMMPS" if names == [KERNELS] else ""
    return f"Timed {ranking.CALLED[names[0]]}{through}."


def adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows whose µs are by one time of the ruler, and of two implementations the cheaper's.

    Those of several cores stand apart.
    """
    return cheaper(ruler_time.scaled(on_cores.apart(rows)))


def cheaper(rows: pd.DataFrame) -> pd.DataFrame:
    """Of potentials timed both ways leave the rows of the cheaper implementation as they are.

    Those of the other have metrics with its name, and so have the ratios of both; the ruler's stay.
    """
    ours = rows["measure"] == MEASURE.name
    ratios = rows[ours & (rows["metric"] == ranking.METRIC)]
    means = ratios.groupby(["potential", "implementation"])["value"].mean().unstack("implementation")
    twice = means.dropna()
    if len(means.columns) < 2 or twice.empty:
        return rows
    chosen = rows["potential"].map(twice.idxmin(axis=1))
    of_potential = rows["metric"] != "ruler_s_per_step"
    dearer = ours & chosen.notna() & (rows["implementation"] != chosen) & of_potential
    both = ours & chosen.notna() & (rows["metric"] == ranking.METRIC)
    named = rows.assign(metric=rows["metric"] + "_" + rows["implementation"].fillna(""))
    return pd.concat([rows[~dearer], named[dearer | both]], ignore_index=True)


def _busy(evidence: Evidence) -> list[str]:
    """Say it once of all potentials that it is true of: a sweep has many."""
    rows = evidence.of(MEASURE.name)
    ruler = rows[rows["metric"] == "ruler_s_per_step"]
    spread = ruler["spread"] / ruler["value"]
    noisy = ruler[spread > NOISY_RULER]
    if noisy.empty:
        return []
    return [
        f"The machine was busy while it timed {tables.several(noisy['potential'])}: the ruler's blocks "
        f"spread by up to {100 * spread.max():.0f} %. Trust the ratios, not the seconds."
    ]


def _without_one_core(evidence: Evidence) -> list[str]:
    """Say which potentials have a cost on several cores alone: they have no place on the front."""
    several = set(evidence.of(on_cores.SEVERAL)["potential"]) - set(evidence.of(MEASURE.name)["potential"])
    if not several:
        return []
    return [f"Timed on several cores alone, so not on the front of one: {', '.join(sorted(several))}."]


def _processors(evidence: Evidence) -> list[str]:
    processors = evidence.of(MEASURE.name)["cpu"].unique()
    if len(processors) < 2:
        return []
    return [f"Timings of different processors, compare ratios only: {', '.join(processors)}."]
