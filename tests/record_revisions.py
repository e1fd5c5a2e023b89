"""Record which sources the revision of each family and each measure stands for, in ``tests/revisions.toml``.

    python tests/record_revisions.py
    python tests/record_revisions.py --same-results gap --same-results phonons
    python tests/record_revisions.py --same-results all

A result is kept as long as the revisions that it was made with stand. So where sources of a family or measure
change and a result with them, its ``revision`` is raised; where none changes, ``--same-results`` says so.
"""

import argparse
import ast
import hashlib
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import tomli_w

CHECKOUT = Path(__file__).parent.parent
RECORD = Path(__file__).parent / "revisions.toml"
PACKAGE = "mlip_bench"
ALL = "all"

# What these make is shown, and is in no number.
SHOWN = (
    "mlip_bench.cli",
    "mlip_bench.progress",
    "mlip_bench.report",
    "mlip_bench.section",
    "mlip_bench.measure.cost.ranking",
    "mlip_bench.measure.errors.ranking",
)

# Imports by names that are computed cannot be followed; these need not be.
COMPUTED = {"mlip_bench.measure.base": "sections of the report"}


class Subject(NamedTuple):
    """A family or a measure: what it states, and the module that defines it."""

    revision: int
    packages: tuple[str, ...]
    module: str


class Sources:
    """The modules of the package below a folder: which imports which, and the hash of all that one needs.

    A name is followed to the module that defines it, so that a registry which imports every family makes no
    family need another.
    """

    def __init__(self, root: Path):
        self.root = root
        self.tree = cache(self._tree)
        self.imports = cache(self._imports)
        self.digest = cache(self._digest)

    def path(self, module: str) -> Path | None:
        """Return the file of a module, or None where there is no such module."""
        base = self.root.joinpath(*module.split("."))
        candidates = (base.with_suffix(".py"), base / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)

    def _tree(self, module: str) -> ast.Module:
        path = self.path(module)
        if path is None:
            raise ValueError(f"{module}: no such module below {self.root}")
        return without_types(without_docstrings(ast.parse(path.read_text())))

    def _imports(self, module: str) -> tuple[set[str], set[str]]:
        """Return the modules of ours that a module imports, anywhere in it, and the names of all others."""
        own: set[str] = set()
        foreign: set[str] = set()
        for node in ast.walk(self.tree(module)):
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {self._home(module, node, alias.name) for alias in node.names}
            elif _is_computed_import(node) and module not in COMPUTED:
                raise ValueError(f"{module}, line {node.lineno}: an import of a computed name, not followed")
            else:
                continue
            ours = {name for name in found if name.split(".")[0] == PACKAGE}
            own |= {name for name in ours if not _is_shown(name)}
            foreign |= {name.split(".")[0] for name in found - ours}
        return own, foreign

    def _home(self, module: str, node: ast.ImportFrom, name: str) -> str:
        """Return the module that defines a name which ``module`` imports from another."""
        if node.level or name == "*" or node.module is None:
            raise ValueError(f"{module}, line {node.lineno}: only absolute imports of names can be followed")
        source = node.module
        if source.split(".")[0] != PACKAGE:
            return source
        if self.path(f"{source}.{name}"):
            return f"{source}.{name}"
        for statement in self.tree(source).body:
            if isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    if (alias.asname or alias.name) == name:
                        return self._home(source, statement, alias.name)
        return source

    def needed(self, module: str) -> list[str]:
        """Return a module and all modules of ours that it imports, transitively, in alphabetical order."""
        found: set[str] = set()
        waiting = [module]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(self.imports(one)[0])
        return sorted(found)

    def sha256(self, module: str) -> str:
        """Return the hash of the syntax trees of all that a module needs; their names count, too."""
        lines = [f"{one} {self.digest(one)}" for one in self.needed(module)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _digest(self, module: str) -> str:
        return hashlib.sha256("\n".join(words(self.tree(module))).encode()).hexdigest()


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Return a syntax tree without its strings that stand for themselves: docstrings, also of attributes."""
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list):
                setattr(node, field, [line for line in statements if not _is_text(line)])
    return tree


def _is_shown(module: str) -> bool:
    return any(f"{module}.".startswith(f"{shown}.") for shown in SHOWN)


def _is_computed_import(node: ast.AST) -> bool:
    called = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
    return called in ("import_module", "__import__")


def without_types(tree: ast.Module) -> ast.Module:
    """Return a syntax tree without what is imported for checkers of types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def words(node: object) -> Iterator[str]:
    """Yield a syntax tree as words that are the same in every version of Python from 3.11.

    ``ast.dump`` is not: it shows or leaves out what is empty, and later versions have more fields. Some have
    empty strings in the formats of f-strings.
    """
    if isinstance(node, ast.JoinedStr):
        node.values = [
            part for part in node.values if not (isinstance(part, ast.Constant) and not part.value)
        ]
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if value is not None and value != [] and not isinstance(value, ast.expr_context):
                yield name
                yield from words(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for entry in node:
            yield from words(entry)
        yield "]"
    else:
        yield ascii(node)


def subjects() -> dict[str, Subject]:
    """Return our families and measures by name; families of other packages are theirs to watch."""
    from mlip_bench.measure import MEASURES, fit, learning
    from mlip_bench.potentials import family, family_names

    families = {name: family(name) for name in family_names()}
    return (
        {
            name: Subject(kind.revision, kind.packages, kind.__module__)
            for name, kind in families.items()
            if kind.__module__.startswith(f"{PACKAGE}.")
        }
        | {one.REPORTED.name: Subject(one.REVISION, one.PACKAGES, one.__name__) for one in (fit, learning)}
        | {
            name: Subject(measure.revision, measure.packages, measure.run.__module__)
            for name, measure in MEASURES.items()
        }
    )


def current(sources: Sources, known: Mapping[str, Subject]) -> dict[str, dict[str, int | str]]:
    """Return revision and hash of the sources of each family and measure."""
    return {
        name: {"revision": subject.revision, "sha256": sources.sha256(subject.module)}
        for name, subject in sorted(known.items())
    }


def unstated(
    recorded: Mapping[str, Mapping[str, int | str]], now: Mapping[str, Mapping[str, int | str]]
) -> list[str]:
    """Return the names whose sources changed and whose revision did not."""
    return [
        name
        for name, entry in now.items()
        if name in recorded
        and recorded[name]["revision"] == entry["revision"]
        and recorded[name]["sha256"] != entry["sha256"]
    ]


def what_to_do(left: list[str]) -> str:
    """Say what to do about names whose sources changed and whose revision did not."""
    return (
        f"the sources of {', '.join(left)} changed and the revision did not: raise it where a result "
        "changes, and run: python tests/record_revisions.py; where none does, run it with: "
        f"{' '.join(f'--same-results {name}' for name in left)}"
    )


def record(path: Path, now: Mapping[str, Mapping[str, int | str]], same_results: list[str]) -> str | None:
    """Write the record; where a name's sources changed alone, write nothing and return why not."""
    recorded = tomllib.loads(path.read_text()) if path.is_file() else {}
    if ALL in same_results:
        same_results = list(now)
    unknown = sorted(set(same_results) - set(now))
    if unknown:
        return f"no family and no measure is called {', '.join(unknown)} (known: {', '.join(now)})"
    left = [name for name in unstated(recorded, now) if name not in same_results]
    if left:
        return what_to_do(left)
    path.write_text(tomli_w.dumps(dict(now)))
    return None


def main() -> None:
    """Record the checkout that this file is in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--same-results",
        action="append",
        default=[],
        metavar="NAME",
        help="sources of this family or measure changed, and none of its results; 'all' for all of them",
    )
    refused = record(RECORD, current(Sources(CHECKOUT), subjects()), parser.parse_args().same_results)
    if refused:
        sys.exit(refused)
    print(f"recorded in {RECORD}")


if __name__ == "__main__":
    main()
