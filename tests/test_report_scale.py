"""Reports of many rows: the example, multiplied; its own sizes stay the best of their families."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlip_bench.report import HTML
from mlip_bench.results import DESCRIPTION, RESULTS

EXAMPLE = Path(__file__).parent / "example"

BUILD = """
import json, resource, sys
from pathlib import Path
from mlip_bench.report import build
build(Path(sys.argv[1]))
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 2**20}))
"""


def multiplied(n_rows, folder):
    """Write a run of at least so many rows: sizes as in the example, each again and again and a bit worse."""
    rows = [json.loads(line) for line in (EXAMPLE / RESULTS).read_text().splitlines()]
    description = (EXAMPLE / DESCRIPTION).read_text()
    head, *potentials = description.split("\n[potentials.")
    names = {text.split("]", 1)[0] for text in potentials if "." not in text.split("]", 1)[0]}
    tables = {
        name: [text for text in potentials if text.split("]", 1)[0].split(".")[0] == name] for name in names
    }
    written, number = 0, 0
    shutil.copytree(EXAMPLE / "predictions", folder / "predictions")
    with (folder / RESULTS).open("w") as file, (folder / DESCRIPTION).open("w") as described:
        described.write(head)
        while written < n_rows:
            ending, worse = (f"-{number}", 1 + 0.003 * number) if number else ("", 1.0)
            for row in rows:
                own = row | {"potential": row["potential"] + ending}
                own["hypers_sha256"] = row["hypers_sha256"] + ending
                if row["value"] is not None:
                    own["value"] = worse * row["value"]
                file.write(json.dumps(own, ensure_ascii=False) + "\n")
            for name in sorted(names):
                for text in tables[name]:
                    text = text.replace(f"{name}", f"{name}{ending}", 1)
                    text = text.replace("cutoff = ", f"cutoff = {number or ''}", 1)
                    described.write(f"\n[potentials.{text}")
            written += len(rows)
            number += 1
    return written, number * len(names)


@pytest.mark.slow
@pytest.mark.parametrize(("n_rows", "seconds", "megabytes"), [(10_000, 30, 2.0), (100_000, 120, 5.0)])
def test_a_report_of_many_rows_is_small_and_quickly_made(n_rows, seconds, megabytes, tmp_path):
    """Time of the processor, which other work on the machine hardly changes."""
    n_rows, n_sizes = multiplied(n_rows, tmp_path)
    done = subprocess.run([sys.executable, "-c", BUILD, tmp_path], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    size = (tmp_path / HTML).stat().st_size / 1e6
    print(f"{n_rows} rows of {n_sizes} sizes: {size:.2f} MB, {found['cpu']:.0f} s, {found['peak']:.2f} GiB")
    assert found["cpu"] < seconds
    assert size < megabytes
