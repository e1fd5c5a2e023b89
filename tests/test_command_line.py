"""The command line itself: quick to answer, one line for what is mistyped, completion of names."""

import os
import subprocess
import sys

import pytest

from mlip_bench.cli import completion
from mlip_bench.cli.choices import parse_settings
from mlip_bench.potentials import family_names

COMMAND = [sys.executable, "-m", "mlip_bench"]

# What takes long to import, and help can do without.
HEAVY = ("torch", "ase", "numpy", "scipy", "pandas", "matplotlib", "numba", "requests")

IMPORTED = """
import sys
from mlip_bench.cli import main
sys.argv = ["mlip-bench", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sys.modules)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["data", "--help"], ["--version"]], ids=" ".join
)
def test_help_imports_nothing_that_takes_long(arguments):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, timeout=100
    )
    imported = done.stdout.split("imported:")[1].split()
    assert "typer" in imported, done.stderr
    assert not set(imported) & set(HEAVY)


@pytest.mark.parametrize("command", [["list"], ["list", "snap"], ["data", "list"]], ids=" ".join)
def test_lists_import_neither_torch_nor_builders(command):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *command], capture_output=True, text=True, timeout=100
    )
    imported = done.stdout.split("imported:")[1].split()
    assert not {"torch", "ase.build", "pandas", "matplotlib"} & set(imported)


def typed(*arguments, folder, **environment):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runn"], "No such command 'runn'. Did you mean 'run'?; see: mlip-bench --help"),
        (["run", "--sistem", "Mo"], "No such option: --sistem"),
        (["run", "--seed", "-1"], "Invalid value for '--seed'"),
        (["fit", "snap"], "Missing option '--out'; see: mlip-bench fit --help"),
        (["data", "fetch"], "Missing argument 'dataset'; see: mlip-bench data fetch --help"),
        (["fit", "snap", "--out"], "Option '--out' requires an argument"),
    ],
)
def test_what_is_mistyped_is_one_line(arguments, told, tmp_path):
    done = typed(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mlip-bench: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_version(tmp_path):
    import mlip_bench

    assert typed("--version", folder=tmp_path).stdout == f"mlip-bench {mlip_bench.__version__}\n"


def test_without_a_command_help_is_shown(tmp_path):
    done = typed(folder=tmp_path)
    assert done.returncode == 2
    assert "Usage: mlip-bench" in done.stdout + done.stderr


def completed(line, folder):
    """Return what bash is told that the last word of a line can become."""
    words = line.split(" ")
    done = typed(
        folder=folder,
        _MLIP_BENCH_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mlip-bench run --potential snap,seven", ["snap,sevennet", "snap,sevennet-dfs"]),
        ("mlip-bench fit m", ["mtp"]),
        ("mlip-bench run --system S", ["Si"]),
        ("mlip-bench run --dataset emb", ["embedded"]),
        ("mlip-bench data fetch ml", ["mlearn"]),
        ("mlip-bench run --measure errors,ph", ["errors,phonons", "errors,physicality"]),
        ("mlip-bench measure pot --measure el", ["elastic"]),
        ("mlip-bench run --preset st", ["standard"]),
        ("mlip-bench fit snap --device c", ["cpu", "cuda"]),
        ("mlip-bench run --split b", ["blocks"]),
        ("mlip-bench list q", ["qsnap"]),
    ],
)
def test_names_are_completed(line, words, tmp_path):
    assert completed(line, tmp_path) == words


def test_the_shell_gets_a_script_for_the_command(tmp_path):
    done = typed("--show-completion", "bash", folder=tmp_path)
    assert done.returncode == 0
    assert "_MLIP_BENCH_COMPLETE=complete_bash" in done.stdout


def test_every_family_can_follow_another_and_files_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pot.v1").mkdir()
    (tmp_path / "my.extxyz").touch()
    assert completion.potentials("snap,file:my") == ["snap,file:my pot.v1/", "snap,file:my.extxyz"]
    assert completion.dataset("my.e") == ["my.extxyz"]
    rest = [word.removeprefix("snap,") for word in completion.potentials("snap,")]
    assert set(family_names()) - {"snap"} <= set(rest)
    assert "snap" not in rest


def test_a_path_is_taken_whole_as_a_setting():
    """What looks like a comment of TOML is part of a name."""
    texts = {"1#a.pth": "1#a.pth", "my 'best' #2 $x.pth": "my 'best' #2 $x.pth", "8": 8, "[1, 2]": [1, 2]}
    for text, value in texts.items():
        assert parse_settings([f"snap.x={text}"], ["snap"]) == {"snap": {"x": value}}
