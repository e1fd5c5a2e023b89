"""Workers as jobs of SLURM, as many as are asked for, by dask-jobqueue.

    python slurm_workers.py SCHEDULER.json JOBS [--cores 2] [--memory 4GB] [--time 12:00:00] [--timing]

Writes the scheduler's file and holds the jobs until it is interrupted: a job that ends is asked for again.
"""

import argparse
import json
import signal
from pathlib import Path

from dask_jobqueue import SLURMCluster

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", type=Path)
parser.add_argument("jobs", type=int)
parser.add_argument("--cores", type=int, default=2)
parser.add_argument("--memory", default="4GB")
parser.add_argument("--time", default="12:00:00")
parser.add_argument("--timing", action="store_true", help="these jobs have their nodes alone, and may time")
asked = parser.parse_args()

if __name__ == "__main__":
    with SLURMCluster(
        cores=asked.cores,
        processes=1,
        memory=asked.memory,
        walltime=asked.time,
        worker_extra_args=["--resources", "timing=1"] if asked.timing else [],
        job_extra_directives=["--exclusive"] if asked.timing else [],
    ) as cluster:
        cluster.scale(jobs=asked.jobs)
        asked.file.write_text(json.dumps({"address": cluster.scheduler_address}))
        print(f"{cluster.scheduler_address}, dashboard {cluster.dashboard_link}", flush=True)
        signal.pause()
