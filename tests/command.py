"""The command ``mlip-bench`` in this process, for tests that do not end it by force: it starts at once."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from unittest import mock

from mlip_bench import cli


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def mlip_bench(*arguments, folder=".", env=None):
    """Run the command in a folder, with another environment if one is given."""
    words = list(map(str, arguments))
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, env or {}, clear=env is not None),
        mock.patch.object(sys, "argv", ["mlip-bench", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    return Done(code, out.getvalue(), err.getvalue())
