"""The README and the tools: what they promise is what is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()


@pytest.mark.parametrize(
    "command", [["ruff", "format", "--check"], ["ruff", "check"], ["mypy"]], ids=" ".join
)
def test_tools_are_green(command):
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    done = subprocess.run([program, *command[1:]], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_of_the_readme_exists():
    """Each ``mlip-bench`` line in a code block parses: the command and its options are known."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if "mlip-bench " in line]
    seen = set()
    for line in lines:
        words = line.split("mlip-bench ", 1)[1].split("#")[0].split()
        command = words[:2] if words[0] == "data" else words[:1]
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        done = subprocess.run(
            [sys.executable, "-m", "mlip_bench", *command, "--help"],
            capture_output=True,
            text=True,
            env={"COLUMNS": "200", "PATH": ""},
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert all(option in done.stdout for option in options), line
        seen.add(" ".join(command))
    assert {"run", "data show", "evaluate", "export"} <= seen


def test_files_that_the_readme_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (CHECKOUT / target).exists(), target


def test_numbers_of_the_readme_are_those_of_the_example():
    """The table of the README has the best size of each family of the committed example, cell by cell."""
    from mlip_bench.report import tables
    from mlip_bench.report.content import read

    example = read(CHECKOUT / "reports" / "example")
    best = [cells for cells in tables.ranking(example).rows if cells[0] in example.shown]
    assert len(best) == 10
    for cells in best:
        assert "| " + " | ".join(cells) + " |" in README
    for finding in example.findings:
        assert finding in README


# Paths of a machine, and files that do not ship: sources are DOIs, tables of papers, and files that do.
FOREIGN = {
    "a path of a machine": r"/(work|home|root)/",
    "a file outside the repository": r"\bseeds/0|\breference/[a-z0-9-]+\.md|house-style\.md|design\.md",
}


@pytest.mark.parametrize("pattern", FOREIGN.values(), ids=FOREIGN)
def test_no_text_names(pattern):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("not a git checkout: the files of the repository are not known")
    own = Path(__file__).name
    for name in listed:
        path = CHECKOUT / name
        if path.suffix in (".py", ".md", ".toml", ".jsonl", ".html", ".txt", "") and path.name != own:
            text = path.read_text(errors="replace")
            assert not re.search(pattern, text), name
