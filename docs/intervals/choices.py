"""What is chosen by held-out errors beside what the test split would have chosen, for the sizes of sweeps.

    python docs/intervals/choices.py measure WORK --system Mo --potential snap,qsnap,gap,mtp --most 120

Every size is fitted, and has held-out errors of five folds, test errors and a cost. The recommendation is the
cheapest size within 20 % of the least force RMSE, as in a report: once by held-out errors, once by those of
the test split. Only here are test errors of all sizes looked at, and nothing in the suite is chosen by what
is found. ``choices.json`` beside this file keeps it; ``table`` prints it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mlip_bench.data import records
from mlip_bench.report import content, fronts
from mlip_bench.report.content import Content
from mlip_bench.results import HELD_OUT, TEST
from mlip_bench.run import schedule
from mlip_bench.run.executor import LocalExecutor
from mlip_bench.run.folder import describe
from mlip_bench.run.inputs import Data
from mlip_bench.run.plan import Plan
from mlip_bench.run.store import STORE, Store, sole_writer
from mlip_bench.run.sweep import ladder

RESULTS = Path(__file__).with_name("choices.json")
ERROR, COST = "force_rmse", "cost_ratio"


def measure(work: Path, dataset: str, system: str, families: list[str], most: float) -> dict[str, Any]:
    """Measure all sizes whose ladder says at most so many seconds, and return both choices."""
    data = records.load(dataset, system)
    sizes = [size for name in families for size in ladder(name, system, {}, {}) if size.seconds <= most]
    plan = Plan(
        data,
        tuple(size.potential for size in sizes),
        (HELD_OUT, "errors", "cost"),
        given={HELD_OUT: {"folds": 5, "split": "random"}},
    )
    folder, store = work / f"{dataset}-{system}", Store(work / STORE)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = plan.tasks(Data.of(data, store.put_structures))
    with sole_writer(folder):
        with LocalExecutor(store, 1) as executor:
            schedule.run(tasks, executor, folder)
        describe(plan, folder, ["choices"], {})
    return {"dataset": dataset, "system": system, "families": families, **choices(content.read(folder))}


def choices(read: Content) -> dict[str, Any]:
    """Return what held-out errors recommend and what test errors would have, with both errors of both."""
    ranking = read.ranking
    by_test = ranking.assign(**{ERROR: ranking[f"{ERROR}_{TEST}"]})
    found: dict[str, Any] = {"sizes": len(ranking), "rank_correlation": _correlation(read)}
    for split, chosen in ((HELD_OUT, fronts.recommended(ranking)), (TEST, fronts.recommended(by_test))):
        row = ranking.loc[chosen]
        found[f"by_{split.replace('-', '_')}"] = {
            "potential": chosen,
            "held_out": round(float(row[ERROR]), 1),
            "test": round(float(row[f"{ERROR}_{TEST}"]), 1),
            COST: round(float(row[COST]), 3),
        }
    return found


def _correlation(read: Content) -> float:
    """Return how alike both splits order the sizes (Spearman)."""
    ranking = read.ranking
    return round(float(ranking[ERROR].corr(ranking[f"{ERROR}_{TEST}"], method="spearman")), 3)


def table() -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| data | sizes of | order alike | by held-out errors | its test RMSE (meV/Å), cost | "
        "by test errors | its test RMSE, cost |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in json.loads(RESULTS.read_text()):
        ours, theirs = one["by_held_out"], one["by_test"]
        lines.append(
            f"| {one['dataset']} {one['system']} | {one['sizes']} of {', '.join(one['families'])} | "
            f"{one['rank_correlation']:.2f} | {ours['potential']} | {ours['test']}, {ours[COST]} | "
            f"{theirs['potential']} | {theirs['test']}, {theirs[COST]} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Do what the command line says."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("work", type=Path)
    measured.add_argument("--dataset", default="mlearn")
    measured.add_argument("--system", default="Mo")
    measured.add_argument("--potential", default="snap,qsnap,gap,mtp")
    measured.add_argument("--most", type=float, default=120, help="seconds that the ladder gives a size")
    commands.add_parser("table")
    given = parser.parse_args()
    if given.command == "table":
        print(table())
        return
    found = measure(given.work, given.dataset, given.system, given.potential.split(","), given.most)
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    kept = [one for one in kept if (one["dataset"], one["system"]) != (given.dataset, given.system)]
    RESULTS.write_text(json.dumps([*kept, found], indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
