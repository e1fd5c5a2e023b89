"""The wheel carries everything: installed elsewhere and run from another folder, it works."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A fresh environment with our wheel; the dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    (site_packages,) = environment.glob("lib/python*/site-packages")
    ours = ["--target", str(site_packages), "--no-deps", "--no-index", "--no-compile", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "install", *ours, str(wheel)], check=True)
    # Plain paths, so that the checkout, installed for editing in the tests' environment, is not seen.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, folder


def ask(python, folder, *arguments):
    return subprocess.run([str(python), *arguments], cwd=folder, capture_output=True, text=True, timeout=300)


def test_wheel_is_the_one_that_runs(installed):
    python, folder = installed
    done = ask(python, folder, "-c", "import mlip_bench; print(mlip_bench.__file__)")
    assert str(folder) in done.stdout, done.stderr


def test_shipped_folders_are_found(installed):
    python, folder = installed
    done = ask(python, folder, "-m", "mlip_bench", "list", "snap", "--system", "Mo")
    assert "published file" in done.stdout, done.stderr
    done = ask(python, folder, "-m", "mlip_bench", "data", "show", "--system", "Mo", "--dataset", "embedded")
    assert "MD-NVT" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_run_from_the_wheel(installed):
    python, folder = installed
    arguments = [
        "run",
        "--potential",
        "snap",
        "--system",
        "Mo",
        "--dataset",
        "embedded",
        "--preset",
        "quick",
        "--measure",
        "errors",
    ]
    done = ask(python, folder, "-m", "mlip_bench", *arguments)
    assert done.returncode == 0, done.stderr
    assert (folder / "reports" / "Mo" / "report.html").is_file()
