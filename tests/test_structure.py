"""How the modules stand to each other: few at the root, imports downward, no module under another's name."""

import ast
from pathlib import Path

import pytest

import mlip_bench

PACKAGE = Path(mlip_bench.__file__).parent
MOST_AT_THE_ROOT = 8

# From below: a module may import from its own rank and from those before it.
RANKS = (
    ("errors", "hardware", "__init__"),
    ("results", "data", "lammps"),
    ("potentials",),
    ("md", "section"),
    ("measure",),
    ("run", "testing", "export"),
    ("report", "compare"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Return what a file imports of the package, anywhere in it: full name, and the name it is given."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mlip_bench":
            found += [(f"{node.module}.{alias.name}", alias.asname) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [
                (alias.name, alias.asname) for alias in node.names if alias.name.startswith("mlip_bench")
            ]
    return found


def part_of(name):
    """Return the folder or module at the root that a full name belongs to."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in RANK else "__init__"


def test_few_modules_are_at_the_root():
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_ROOT


def test_every_part_has_its_rank():
    parts = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/*.py")
    }
    assert parts - {"mlip_bench", "_shipped"} <= set(RANK)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module):
    own = RANK[part_of(module)] if module != "mlip_bench" else 0
    above = {name for name, _ in imported(MODULES[module]) if RANK[part_of(name)] > own}
    assert not above


def test_no_module_goes_by_another_name():
    renamed = [
        f"{module}: {name} as {alias}"
        for module, path in MODULES.items()
        for name, alias in imported(path)
        if alias is not None and name in MODULES
    ]
    assert not renamed
