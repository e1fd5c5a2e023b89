"""Cost in the report: it stands on the first page, beside the errors; here is what must be said of it."""

import pandas as pd

from mlip_bench.measure.cost import MEASURE, ranking, ruler_time
from mlip_bench.results import KERNELS, LAMMPS
from mlip_bench.section import tables
from mlip_bench.section.evidence import Evidence
from mlip_bench.section.parts import Section, Term
from mlip_bench.section.terms import of_ranking, of_values

# A ruler whose blocks differ by more than this share was timed on a busy machine.
NOISY_RULER = 0.05


def sections(evidence: Evidence) -> list[Section]:
    """Return no section, but warnings."""
    return [Section("", warnings=[*_busy(evidence), *_processors(evidence)], place=0)]


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
    """Return rows whose µs are by one time of the ruler, and of two implementations the cheaper's."""
    return cheaper(ruler_time.scaled(rows))


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


def _processors(evidence: Evidence) -> list[str]:
    processors = evidence.of(MEASURE.name)["cpu"].unique()
    if len(processors) < 2:
        return []
    return [f"Timings of different processors, compare ratios only: {', '.join(processors)}."]
