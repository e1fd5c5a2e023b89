"""Reading of extended XYZ, frame by frame and to the end of the file; a broken frame loses no other."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_str_to_dict, read_xyz
from ase.io.formats import get_compression, open_with_compression

from mlip_bench.errors import UserError

# Columns of a frame that does not name its own.
PLAIN = "species:S:1:pos:R:3"

# So much of a line is quoted.
QUOTED = 40


@dataclass
class _Block:
    """Lines of a file from one number of atoms to the next, the comment included."""

    first: int
    """Number of the first line in the file, from one."""
    lines: list[str]


def read_frames(
    path: Path, parse_comment: Callable[[str], dict] = key_val_str_to_dict
) -> Iterator[Atoms | UserError]:
    """Yield the frames of a file, compressed or not, as ASE reads them, or why one cannot be read.

    One frame is held at a time. ``parse_comment`` makes keys and values of its second line. Behind a broken
    frame reading goes on at the next line that is a number of atoms. Rows have as many words as
    ``Properties`` has columns: ASE would pass over others, or read them shifted. ASE ends at an empty line
    between frames: where there is more behind it, :class:`UserError` says so.
    """
    number = 0
    with open_with_compression(str(path), "rt") as file:
        for block in _blocks(file):
            end = _length(block)
            if end:
                number += 1
                yield _frame_or_error(_Block(block.first, block.lines[:end]), parse_comment)
            if end == len(block.lines):
                continue
            if not block.lines[end].strip():
                where = f"after frame {number}" if number else "at its beginning"
                raise UserError(f"{path}: an empty line {where}, and more behind it; remove the empty line")
            number += 1
            yield UserError(
                f"cannot be read (line {block.first + end}: {_quoted(block.lines[end])} is no number of "
                "atoms; reading goes on at the next)"
            )


def ends_within_a_line(path: Path) -> bool:
    """Tell whether a file, compressed or not, ends without the end of a line, as one does that is cut off."""
    if path.stat().st_size == 0:
        return False
    _, compression = get_compression(path.name)
    with open_with_compression(str(path), "rb") as file:
        last = b""
        if compression is None:
            file.seek(-1, os.SEEK_END)
        while block := file.read(1 << 20):
            last = block[-1:]
    return last not in (b"", b"\n")


def _blocks(file: Iterator[str]) -> Iterator[_Block]:
    """Yield the lines from each number of atoms to the next; empty ones at the end of the file are none."""
    block = _Block(1, [])
    is_comment = False
    for number, line in enumerate(file, start=1):
        # A row has a symbol and a position: a lone whole number begins a frame.
        if not is_comment and line.strip().isdecimal():
            if block.lines:
                yield block
            block, is_comment = _Block(number, [line]), True
            continue
        block.lines.append(line)
        is_comment = False
    n_atoms = _n_atoms(block)
    kept = 0 if n_atoms is None else min(2 + n_atoms, len(block.lines))
    while len(block.lines) > kept and not block.lines[-1].strip():
        block.lines.pop()
    if block.lines:
        yield block


def _n_atoms(block: _Block) -> int | None:
    first = block.lines[0].strip() if block.lines else ""
    return int(first) if first.isdecimal() else None


def _length(block: _Block) -> int:
    """Return how many lines belong to the frame: the rest, up to the next, are no rows of any."""
    n_atoms = _n_atoms(block)
    if n_atoms is None:
        return 0
    end = 2 + n_atoms
    while end < len(block.lines) and block.lines[end].lstrip().startswith("VEC"):
        end += 1
    # A row too many makes the frame a broken one, and so does an empty line among its rows.
    whole = end < len(block.lines) and all(map(str.strip, block.lines[2:end]))
    return end if whole and not _is_row(block.lines[end]) else len(block.lines)


def _is_row(line: str) -> bool:
    """Tell whether a line is a row of an atom, whole or not; a comment may begin ``Lattice="5.4 0.0``."""
    words = line.split()
    return len(words) >= 2 and "=" not in words[0] and _is_number(words[1])


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _quoted(line: str) -> str:
    text = line.strip()
    return repr(text if len(text) <= QUOTED else f"{text[:QUOTED]}...")


def _frame_or_error(block: _Block, parse_comment: Callable[[str], dict]) -> Atoms | UserError:
    try:
        return _frame(block, parse_comment)
    except UserError as error:
        return UserError(f"cannot be read ({error})")
    except Exception as error:  # ASE's reader may raise anything on a broken frame
        return UserError(f"cannot be read (line {block.first}: {type(error).__name__}: {error})")


def _frame(block: _Block, parse_comment: Callable[[str], dict]) -> Atoms:
    rows = [line for line in block.lines[2:] if not line.lstrip().startswith("VEC")]
    has_vectors = len(rows) < len(block.lines) - 2  # the comment is words then, as ASE takes it
    comment = {} if has_vectors or len(block.lines) < 2 else parse_comment(block.lines[1].strip())
    columns = _columns(str(comment.get("Properties", PLAIN)), block.first + 1)
    _refuse_other_lengths(block, rows, None if "Properties" not in comment else len(columns))
    try:
        # Parsing takes long, and need not be done twice.
        (atoms,) = read_xyz(StringIO("".join(block.lines)), slice(None), lambda _: comment)
    except Exception:
        _refuse_other_words(block, rows, columns)
        raise
    return atoms


def _refuse_other_lengths(block: _Block, rows: list[str], wanted: int | None) -> None:
    """Raise :class:`UserError` for rows that are not as many as announced, or not of ``wanted`` words.

    None is a plain XYZ file: its rows may have more than a symbol and a position, but all alike.
    """
    n_atoms = int(block.lines[0])
    if len(rows) != n_atoms:
        raise UserError(f"line {block.first}: it announces {n_atoms} atoms and has {len(rows)} rows")
    source = "Properties has" if wanted else "the first row of an atom has"
    if wanted is None and rows:
        wanted = max(4, len(rows[0].split()))
    for number, row in enumerate(rows, start=block.first + 2):
        n_words = len(row.split())
        if n_words != wanted:
            raise UserError(f"line {number}: a row of {n_words} columns, where {source} {wanted}")


def _refuse_other_words(block: _Block, rows: list[str], columns: list[str]) -> None:
    """Raise :class:`UserError` for the first word that is not what its column holds."""
    kinds: dict[str, tuple[Callable[[str], object], str]] = {
        "R": (float, "number"),
        "I": (int, "whole number"),
        "species": (_element, "element"),
    }
    for number, row in enumerate(rows, start=block.first + 2):
        for word, column in zip(row.split(), columns, strict=True):
            if column not in kinds:
                continue
            kind, name = kinds[column]
            try:
                kind(word)
            except ValueError:
                raise UserError(f"line {number}: '{word}' is no {name}") from None


def _element(word: str) -> None:
    if word.capitalize() not in chemical_symbols:
        raise ValueError(word)


def _columns(properties: str, line: int) -> list[str]:
    """Return what each column holds, by the letter of its type, or ``species``."""
    fields = properties.split(":")
    names, kinds, counts = fields[::3], fields[1::3], fields[2::3]
    if len(fields) % 3 or not {*kinds} <= {*"RISL"} or not all(map(str.isdecimal, counts)):
        raise UserError(f"line {line}: Properties={properties} is not made of name:type:columns")
    return [
        name if name == "species" else kind
        for name, kind, count in zip(names, kinds, counts, strict=True)
        for _ in range(int(count))
    ]
