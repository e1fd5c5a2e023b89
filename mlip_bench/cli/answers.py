"""What a command answers: printed as tables for people, or as one JSON document for scripts (``--json``)."""

import contextlib
import ctypes
import dataclasses
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from mlip_bench.cli.arguments import declare
from mlip_bench.cli.printing import SOMETHING_FAILED, complain, console

STDOUT, STDERR = 1, 2

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, and all other lines to standard error."),
]


@dataclass(frozen=True)
class Answer:
    """What a command found."""

    document: Mapping[str, Any]
    """For scripts: plain values, sequences, mappings and dataclasses; NaN becomes null. See docs/json.md."""
    shown: Sequence[RenderableType]
    """The same for people."""
    complaints: Sequence[str] = ()
    """Sentences on what failed, for standard error."""
    failed: bool = False
    """Whether the command ends with the exit code of a failure."""


def answering(command: Callable[..., Answer]) -> Callable[..., None]:
    """Give a command the option ``--json``, and print what it returns."""

    @functools.wraps(command)
    def with_json(*, as_json: bool, **arguments: Any) -> None:
        if as_json:
            with _on_standard_error():
                answer = command(**arguments)
            print(_text(answer.document), flush=True)
        else:
            answer = command(**arguments)
            for renderable in answer.shown:
                console.print(renderable, highlight=False, soft_wrap=isinstance(renderable, str))
        for sentence in answer.complaints:
            complain(sentence)
        if answer.failed:
            raise typer.Exit(SOMETHING_FAILED)

    option = Parameter("as_json", Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    declare(with_json, [*signature(command).parameters.values(), option])
    return with_json


@contextlib.contextmanager
def _on_standard_error() -> Iterator[None]:
    """Send to standard error what is printed inside, also by libraries that do not print through Python."""
    sys.stdout.flush()
    kept = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # else what C still holds would follow the document
        os.dup2(kept, STDOUT)
        os.close(kept)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(_plain(document), ensure_ascii=False, allow_nan=False, indent=2)


def _plain(value: Any) -> Any:
    """Return what JSON knows: numbers that are not finite as null, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # a number or an array of numpy
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
