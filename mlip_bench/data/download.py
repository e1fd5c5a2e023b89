"""Finding a dataset's file: own folder, user's cache, download; always verified."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pooch
import requests

from mlip_bench.errors import UserError

OWN_FOLDER = "MLIP_BENCH_DATA"


@dataclass(frozen=True)
class Found:
    """A verified file, and where it was: ``own folder``, ``cache`` or ``download``."""

    path: Path
    source: str


def cache_folder() -> Path:
    """Return the user's cache folder of downloaded datasets."""
    return Path(platformdirs.user_cache_dir("mlip-bench"))


def find(
    dataset: str, relative: str, url: str | None, checksum: str, *, download: bool = True
) -> Found | None:
    """Return the verified file of a dataset, or None where it is not here and cannot be downloaded.

    Looked for in ``$MLIP_BENCH_DATA/<dataset>/<relative>``, then in the cache, then at ``url``. A file
    with another checksum is a :class:`UserError`.
    """
    own = os.environ.get(OWN_FOLDER)
    if own:
        path = Path(own) / dataset / relative
        if path.is_file():
            verify(path, checksum)
            return Found(path, "own folder")
    cached = cache_folder() / dataset / relative
    if cached.is_file():
        verify(cached, checksum)
        return Found(cached, "cache")
    if download and url is not None and _download(url, cached, checksum):
        return Found(cached, "download")
    return None


def _download(url: str, path: Path, checksum: str) -> bool:
    """Fetch a file into the cache; False where the address cannot be reached."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False  # a cache that cannot be written is one that has nothing
    try:
        pooch.HTTPDownloader(timeout=30)(url, str(partial), None)
        verify(partial, checksum)
        partial.replace(path)
    except (requests.RequestException, ConnectionError, TimeoutError):
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


def verify(path: Path, checksum: str) -> None:
    """Raise :class:`UserError` unless the file has this checksum, ``sha256:...`` or ``git-blob:...``.

    A git blob id is the SHA-1 of ``blob <size>``, a zero byte, and the content.
    """
    kind, expected = checksum.split(":")
    content = path.read_bytes()
    if kind == "git-blob":
        header = f"blob {len(content)}\0".encode()
        actual = hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
    else:
        actual = hashlib.new(kind, content).hexdigest()
    if actual != expected:
        raise UserError(
            f"{path}: checksum mismatch, {kind} is {actual[:16]}..., not {expected[:16]}...; "
            "the file is damaged or another version; delete it and run again"
        )
