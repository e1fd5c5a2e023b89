"""What the report makes of physics that was measured of several fits of one size."""

import dataclasses
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlip_bench.measure import defects, properties
from mlip_bench.measure.conductivity import section as conductivity
from mlip_bench.measure.scaling import section as scaling
from mlip_bench.measure.stability import section as stability
from mlip_bench.report import content
from mlip_bench.results import RESULTS, read_rows, write_rows

EXAMPLE = Path(__file__).parent / "example"


@pytest.fixture
def read(tmp_path):
    """A function that reads the example with a second seed of a potential, and more rows of both."""

    def of(*more, seeds=2):
        folder = tmp_path / "run"
        shutil.copytree(EXAMPLE, folder)
        rows = read_rows(EXAMPLE / RESULTS)
        first = next(row for row in rows if row.family == "nnp" and row.measure == "errors")
        fits = [first, dataclasses.replace(first, potential=f"{first.potential}-seed1", seed=first.seed + 1)]
        blank = {"split": None, "group": None, "spread": None, "low": None, "high": None, "note": None}
        for seed, measure, metric, value, given in more:
            error = None if value is not None else "it did not hold"
            changed = blank | {"measure": measure, "metric": metric, "value": value, "error": error} | given
            rows.append(dataclasses.replace(fits[seed], **changed))
        if seeds == 2:
            own = [row for row in rows if row.potential == first.potential and row.measure == "errors"]
            second = {"potential": fits[1].potential, "seed": fits[1].seed}
            rows += [dataclasses.replace(row, **second) for row in own]
        write_rows(folder / RESULTS, rows)
        return content.read(folder).evidence, first.potential

    return of


def row_of(table, name):
    (found,) = (row for row in table.rows if row[0].startswith(name))
    return dict(zip(table.headings, found, strict=True))


def dynamics(seed, held_ps, exploded, **more):
    group = {"group": "300 K", "n_atoms": 128}
    numbers = {"held_ps": held_ps, "exploded": exploded, "largest_force": 3.0, "smallest_distance": 2.0}
    return [
        (seed, "stability-by-group", metric, value, group) for metric, value in {**numbers, **more}.items()
    ]


def test_one_simulation_in_two_that_exploded_is_seen(read):
    evidence, name = read(*dynamics(0, 12.0, 0.0), *dynamics(1, 0.4, 1.0, largest_force=90.0))
    row = row_of(stability.table(evidence), name)
    assert row["exploded"] == "1"
    assert row["held (ps)"] == "0.40"
    assert row["largest force (eV/Å)"] == "90.00"
    assert stability.cautions(evidence, name) == ["dynamics of 1 of 2 fits exploded at 300 K after 0.4 ps"]
    (term,) = stability.terms(evidence)
    assert term.values["value"][name] == pytest.approx((1 + 0.4 / 12) / 2)


def test_the_share_that_held_is_of_the_time_asked_for(read):
    """It was of the longest simulation shown, so that a potential alone always had all of it."""
    evidence, name = read(*dynamics(0, 0.06, 1.0), seeds=1)
    (term,) = stability.terms(evidence)
    assert term.values["value"][name] == pytest.approx(0.06 / 12)
    assert stability.cautions(evidence, name) == ["dynamics exploded at 300 K after 0.06 ps"]


def test_steps_over_sizes_are_means(read):
    timed = [
        (seed, "scaling", metric, value * (1 + seed), {"n_atoms": 54, "implementation": "mlip-bench"})
        for seed in (0, 1)
        for metric, value in (("s_per_step", 0.01), ("cost_ratio", 1.2))
    ]
    evidence, name = read(*timed)
    assert row_of(scaling.table(evidence), name)["54 atoms (s; × ruler)"] == "0.015; 1.80"


def test_conductivities_are_means_with_their_scatter(read):
    found = [
        (seed, "conductivity", "kappa", value, {"n_atoms": 64, "spread": 0.5})
        for seed, value in ((0, 10.0), (1, 13.0))
    ]
    evidence, name = read(*found)
    table = conductivity.table(evidence)
    assert row_of(table, name)["κ (W/mK)"] == "11.5 ± 1.5"
    assert "the mean of their fits" in table.note


def test_a_fit_that_does_not_hold_leaves_its_potential_without_the_number(read):
    """The mean of the others would flatter it."""
    of_defects = [
        (0, "defects", "vacancy_formation", 3.0, {}),
        (1, "defects", "vacancy_formation", None, {}),
        (0, "defects", "vacancy_migration", 1.0, {}),
        (1, "defects", "vacancy_migration", 2.0, {}),
    ]
    evidence, name = read(*of_defects)
    frame = properties.measured(evidence, defects.MEASURE)[name]
    assert math.isnan(frame.get(("vacancy_formation", ""), np.nan))
    assert frame["vacancy_migration", ""] == 1.5
