"""What the command line prints: lines and tables for people, complaints to standard error, exit codes."""

import sys
from collections.abc import Sequence

from rich.console import Console

BAD_ARGUMENTS = 2
SOMETHING_FAILED = 1
INTERRUPTED = 130

# Without a terminal (a file, CI) there is no width to keep to: tables stay whole.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)


def say(text: str) -> None:
    """Print one plain line."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def say_of_data(sentences: Sequence[str]) -> None:
    """Print what is to be said of the data, a line each."""
    for sentence in sentences:
        say(f"data: {sentence}")


def tell(share: float, message: str) -> None:
    """Print how far a long step is."""
    say(f"{100 * share:.0f} %: {message}")


def complain(text: str) -> None:
    """Print one line to standard error."""
    errors.print(f"mlip-bench: {text}", highlight=False, markup=False, soft_wrap=True)
