"""What the terminal shows while a run works: a bar per task, or a line per step without a terminal.

Of many tasks it shows how many are done, how many failed, how fast it goes and how long it will take.
"""

import threading
import time
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlip_bench.run.executor import Watcher
from mlip_bench.run.tasks import Task

# With more tasks than that each has no line of its own.
MANY = 200

# How often a line of many tasks is printed (s), and the time over which the rate is taken.
RATE_SECONDS, RATE_OVER_SECONDS = 30.0, 600.0


def watcher(console: Console, n_tasks: int) -> "Bars | Lines | Rates":
    """Return bars for a terminal, lines for everything else, and rates for many tasks."""
    if n_tasks > MANY:
        return Rates(console)
    return Bars(console) if console.is_terminal else Lines(console)


class Rates(Watcher):
    """A line now and then: how many tasks are done, at work, failed, the rate, and the time left."""

    def __init__(self, console: Console):
        self._console = console
        self._lock = threading.Lock()
        self._n_expected = self._n_working = self._n_failed = self._n_done = 0
        self._ended: deque[float] = deque()
        self._start = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> "Rates":
        """Begin to print."""
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Print how it ended."""
        self._is_over.set()
        self._thread.join()
        if self._n_expected:
            self._say(self.line())

    def _tell(self) -> None:
        while not self._is_over.wait(RATE_SECONDS):
            if self._n_expected:
                self._say(self.line())

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def expected(self, task: Task) -> None:
        """Count a task that is to be done."""
        with self._lock:
            self._n_expected += 1

    def started(self, task: Task) -> None:
        """Count a task that works."""
        with self._lock:
            self._n_working += 1

    def moved(self, task: Task) -> None:
        """Count a task that works no longer, and will again."""
        with self._lock:
            self._n_working -= 1

    def skipped(self, task: Task) -> None:
        """Count a task that will not be done."""
        with self._lock:
            self._n_expected -= 1

    def noted(self, task: Task, sentence: str) -> None:
        """Print what is to be said of a task."""
        self._say(f"{task.label}: {sentence}")

    def ended(self, task: Task, error: str | None) -> None:
        """Count a task that is done or has failed."""
        with self._lock:
            self._n_working -= 1
            self._n_done += error is None
            self._n_failed += error is not None
            self._ended.append(time.monotonic())

    def line(self) -> str:
        """Return how far it is; the rate is that of the last minutes."""
        now = time.monotonic()
        with self._lock:
            while self._ended and now - self._ended[0] > RATE_OVER_SECONDS:
                self._ended.popleft()
            seconds = min(RATE_OVER_SECONDS, now - self._start)
            rate = len(self._ended) / seconds if seconds > 0 else 0.0
            left = self._n_expected - self._n_done - self._n_failed
            ends = f"about {_duration(left / rate)} left" if left and rate else "no end in sight"
            return (
                f"{self._n_done} of {self._n_expected} tasks done, {self._n_failed} failed, "
                f"{self._n_working} at work; {60 * rate:.3g} per minute" + (f", {ends}" if left else "")
            )


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class Lines(Watcher):
    """One line when a task starts and one when it ends."""

    def __init__(self, console: Console):
        self._console = console
        self._started: dict[str, float] = {}

    def __enter__(self) -> "Lines":
        """Return the watcher itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing to close."""

    def started(self, task: Task) -> None:
        """Print that a task starts."""
        self._started[task.label] = time.monotonic()
        self._say(f"{task.label}: started")

    def noted(self, task: Task, sentence: str) -> None:
        """Print what is to be said of a task."""
        self._say(f"{task.label}: {sentence}")

    def ended(self, task: Task, error: str | None) -> None:
        """Print that a task is done, or why it failed."""
        seconds = time.monotonic() - self._started[task.label]
        self._say(f"{task.label}: {f'failed: {error}' if error else 'done'} ({seconds:.1f} s)")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class Bars(Watcher):
    """A progress bar per running task with the time left."""

    def __init__(self, console: Console):
        self._progress = Progress(
            TextColumn("{task.description:<16}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[message]}", markup=False),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop drawing and leave the bars as they are."""
        self._progress.stop()

    def started(self, task: Task) -> None:
        """Draw a bar for a task; one that begins again keeps its own."""
        if task.label in self._bars:
            return
        self._bars[task.label] = self._progress.add_task(task.label, total=1.0, message="")

    def progressed(self, task: Task, share: float, message: str) -> None:
        """Move the bar of a task."""
        self._progress.update(self._bars[task.label], completed=share, message=message)

    def noted(self, task: Task, sentence: str) -> None:
        """Print what is to be said of a task, above the bars."""
        self._progress.print(f"{task.label}: {sentence}", markup=False, highlight=False)

    def ended(self, task: Task, error: str | None) -> None:
        """Fill the bar of a task, or say why it failed."""
        bar = self._bars[task.label]
        if error is None:
            self._progress.update(bar, completed=1.0, message="done")
        else:
            self._progress.update(bar, message=f"failed: {error}")
        self._progress.stop_task(bar)
