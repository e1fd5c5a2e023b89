"""Where the sources of a family or a measure change, so does its revision, or it is said why not."""

import shutil
import sys
import tomllib
from importlib.metadata import packages_distributions, version

import pytest
from record_revisions import (
    CHECKOUT,
    PACKAGE,
    RECORD,
    Sources,
    current,
    record,
    subjects,
    unstated,
    what_to_do,
)

from mlip_bench.potentials.snap import SNAP
from mlip_bench.testing import Case, states_its_revision

# Imported packages that compute none of the numbers.
NOT_COMPUTING = {
    "platformdirs": "where files are kept",
    "psutil": "how much memory there is",
    "threadpoolctl": "how many threads others may start",
}
# With these, others compute, but not these modules.
NOT_WITH = {
    ("mlip_bench.potentials.base", "torch"): "whether there is a GPU",
    ("mlip_bench.hardware", "torch"): "the name of a GPU",
    ("mlip_bench.measure.memory", "torch"): "how much memory a GPU gave out",
    ("mlip_bench.measure.base", "ase"): "what a structure is",
    ("mlip_bench.measure.fit", "ase"): "what a structure is",
    ("mlip_bench.lammps.style", "ase"): "the numbers of the elements",
    ("mlip_bench.measure.base", "numpy"): "how curves are kept",
}

# What is timed is timed beside a SNAP, the ruler.
TIMED = {"cost", "scaling", "direct-vs-conservative"}
ON_NETWORKS = {"leignn", "leignn-gradient", "sevennet", "sevennet-dfs"}
ON_EDGES = {"gap", "mtp", "nnff", "nnp", "qsnap", "snap"} | ON_NETWORKS | TIMED
ON_CRYSTALS = {"conductivity", "defects", "elastic", "eos", "phonons", "physicality"}
ON_BOXES = {"conductivity", "physicality", "stability"} | TIMED

# Of a measure's own are these layers; what the layers below decide is in the keys of potential and dataset.
LAYERS_OF_MEASURES = ("mlip_bench.measure.", "mlip_bench.md.", "mlip_bench.lammps.")


@pytest.fixture(scope="module")
def known():
    return subjects()


@pytest.fixture(scope="module")
def sources():
    return Sources(CHECKOUT)


def test_sources_change_with_their_revision_only(before):
    recorded, now = tomllib.loads(RECORD.read_text()), before
    left = unstated(recorded, now)
    assert not left, what_to_do(left)
    assert recorded == now, "a revision was raised, or is new: run: python tests/record_revisions.py"


def test_every_source_of_a_family_belongs_to_one(known, sources):
    needed = {module for subject in known.values() for module in sources.needed(subject.module)}
    for path in sorted((CHECKOUT / PACKAGE / "potentials").rglob("*.py")):
        module = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        if path.name not in ("__init__.py", "presets.py"):  # a registry, and hyper-parameters
            assert module in needed, f"no family imports {module}"


def computing(sources, modules, distributions):
    """Return the distributions with which these modules compute."""
    return {
        distribution
        for module in modules
        for package in sources.imports(module)[1]
        if package not in sys.stdlib_module_names
        and package not in NOT_COMPUTING
        and (module, package) not in NOT_WITH
        for distribution in distributions[package]
    }


def test_packages_that_compute_are_named(known, sources):
    distributions = packages_distributions()
    for name, subject in known.items():
        modules = sources.needed(subject.module)
        if subject.module.startswith("mlip_bench.measure."):
            modules = [module for module in modules if module.startswith(LAYERS_OF_MEASURES)]
        assert set(subject.packages) == computing(sources, modules, distributions), name


def test_packages_that_are_named_are_installed(known):
    for subject in known.values():
        for package in subject.packages:
            assert version(package)


@pytest.fixture(scope="module")
def before(known, sources):
    return current(sources, known)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(CHECKOUT / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def change(copy, file, old, new):
    path = copy / PACKAGE / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "names"),
    [
        ("potentials/edges.py", "return 2 * largest", "return 3 * largest", ON_EDGES),
        ("potentials/sevennet/direct.py", '"sevennet-dfs"', '"sevennet_dfs"', {"sevennet-dfs"}),
        ("potentials/networks/schedule.py", "LATE = 0.75", "LATE = 0.8", ON_NETWORKS),
        ("measure/crystals.py", "MOST_STEPS = 200", "MOST_STEPS = 201", ON_CRYSTALS),
        ("md/boxes.py", "RATTLE = 0.05", "RATTLE = 0.06", ON_BOXES),
    ],
)
def test_a_change_reaches_all_that_import_it_and_no_other(file, old, new, names, copy, known, before):
    change(copy, file, old, new)
    assert set(unstated(before, current(Sources(copy), known))) == names


def test_texts_layout_and_registries_change_nothing(copy, known, before):
    change(copy, "potentials/base.py", '"""The interface that every family', '"""What every family')
    change(copy, "potentials/base.py", '"""False where forces are predicted directly', '"""False where they')
    change(copy, "md/driver.py", "# Dynamics hotter than", "# What is hotter than")
    change(copy, "potentials/sevennet/direct.py", "import Graphs\n", "import Others\n")
    change(copy, "potentials/edges.py", "return 2 * largest", "return  2 *largest")
    change(copy, "measure/__init__.py", "MODULES = (", "OTHERS = (), ()\nMODULES = (")
    change(copy, "potentials/__init__.py", 'ENTRY_POINT_GROUP = "', 'ENTRY_POINT_GROUP = "other.')
    assert current(Sources(copy), known) == before


def test_what_is_only_shown_changes_nothing(copy, known):
    change(copy, "measure/crystals.py", "import numpy", "from mlip_bench.report import fronts\nimport numpy")
    before = current(Sources(copy), known)
    (copy / PACKAGE / "report" / "fronts.py").write_text("NUMBER = 1\n")
    assert current(Sources(copy), known) == before


@pytest.mark.parametrize("line", ["importlib.import_module(name)", "__import__(name)", "from . import base"])
def test_imports_that_cannot_be_followed_are_refused(line, copy, known):
    change(copy, "potentials/edges.py", "import numpy", f"{line}\nimport numpy")
    with pytest.raises(ValueError, match=r"mlip_bench.potentials.edges, line \d+: "):
        current(Sources(copy), known)


def test_recording_asks_for_a_revision_or_a_word(tmp_path):
    path = tmp_path / "revisions.toml"
    before = {"snap": {"revision": 1, "sha256": "a"}, "gap": {"revision": 1, "sha256": "b"}}
    assert record(path, before, []) is None
    assert tomllib.loads(path.read_text()) == before
    now = {"snap": {"revision": 1, "sha256": "c"}, "gap": {"revision": 2, "sha256": "d"}}
    assert "sources of snap changed and the revision did not" in record(path, now, [])
    assert tomllib.loads(path.read_text()) == before
    assert "is called sanp" in record(path, now, ["sanp"])
    assert record(path, now, ["snap"]) is None
    assert tomllib.loads(path.read_text()) == now
    assert record(path, before, ["all"]) is None
    assert tomllib.loads(path.read_text()) == before


def test_a_family_must_state_its_revision_and_packages():
    class Unstated(SNAP):
        """A family that takes both from another."""

    class Unsorted(SNAP):
        """A family with packages in no order."""

        revision = 1
        packages = ("scipy", "numpy")

    with pytest.raises(AssertionError, match="Unstated has no 'revision: ClassVar"):
        states_its_revision(Case(Unstated, {}, [], []))
    with pytest.raises(AssertionError):
        states_its_revision(Case(Unsorted, {}, [], []))
