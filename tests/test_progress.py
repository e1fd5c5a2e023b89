"""What is told of many tasks: how many are done, the rate, failures, and the time left."""

import io
import time

from rich.console import Console
from test_executor import Waiting

from mlip_bench.cli import progress
from mlip_bench.cli.progress import MANY, Bars, Lines, Rates, watcher


def test_many_tasks_have_no_lines_of_their_own():
    assert isinstance(watcher(Console(file=io.StringIO()), MANY), Lines)
    assert isinstance(watcher(Console(file=io.StringIO(), force_terminal=True), MANY), Bars)
    assert isinstance(watcher(Console(file=io.StringIO()), MANY + 1), Rates)


def test_rates_failures_and_time_left_are_told(monkeypatch):
    monkeypatch.setattr(progress, "RATE_SECONDS", 0.1)
    written = io.StringIO()
    tasks = [Waiting(str(number)) for number in range(40)]
    with Rates(Console(file=written, width=200)) as rates:
        assert rates.line() == "0 of 0 tasks done, 0 failed, 0 at work; 0 per minute"
        for task in tasks:
            rates.expected(task)
        assert rates.line().endswith(", no end in sight")
        for number, task in enumerate(tasks[:12]):
            rates.started(task)
            if number < 10:
                rates.ended(task, "it failed" if number < 2 else None)
        rates.moved(tasks[10])
        rates.skipped(tasks[39])
        rates._start = time.monotonic() - 120.0
        assert rates.line() == "8 of 39 tasks done, 2 failed, 1 at work; 5 per minute, about 6 min left"
        time.sleep(0.5)
    assert written.getvalue().count("8 of 39 tasks done") >= 2


def test_durations_are_said_as_people_say_them():
    told = [progress._duration(seconds) for seconds in (59, 300, 9000)]
    assert told == ["59 s", "5 min", "2.5 h"]
