"""What the terminal shows while a run works: a bar per task, or a line per step without a terminal."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlip_bench.run.executor import Watcher
from mlip_bench.run.plan import Task


def watcher(console: Console) -> "Bars | Lines":
    """Return bars for a terminal, lines for everything else."""
    return Bars(console) if console.is_terminal else Lines(console)


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
        """Draw a bar for a task."""
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
