"""Files that LAMMPS reads, under names of which every character is ours."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager


@contextmanager
def in_memory(files: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Hold texts in memory, and yield the path of each by its name, which LAMMPS can open until the end.

    No folder is named in its commands: LAMMPS takes quotes, ``#``, ``$`` and ``&`` in them for its own and
    opens no path with characters beyond ASCII, and a temporary folder may lie anywhere. Linux only.
    """
    with ExitStack() as stack:
        paths = {}
        for name, text in files.items():
            file = stack.enter_context(os.fdopen(os.memfd_create(name), "w", encoding="utf-8"))
            file.write(text)
            file.flush()
            paths[name] = f"/proc/{os.getpid()}/fd/{file.fileno()}"  # ranks of MPI are other processes
        yield paths
