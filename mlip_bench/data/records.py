"""Dataset records (``datasets/<id>.toml``) and the choice between them."""

import tomllib
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from mlip_bench.data import consistency
from mlip_bench.data.base import Dataset
from mlip_bench.data.dataset import on_likeness
from mlip_bench.data.download import OWN_FOLDER, Found, find, verify
from mlip_bench.data.files import read_structures
from mlip_bench.data.mlearn_json import VASP_ORDER
from mlip_bench.data.shipped import shipped_folder
from mlip_bench.errors import UserError, did_you_mean

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Record:
    """One dataset as its TOML file describes it."""

    name: str
    content: dict[str, Any]

    @property
    def systems(self) -> list[str]:
        """The chemical systems that this dataset has."""
        return list(self.content["systems"])

    @property
    def is_shipped(self) -> bool:
        """Whether the files come with the package rather than from an address."""
        return "url" not in self.content

    def locate(self, system: str, *, download: bool = True) -> dict[str, Found] | None:
        """Return the verified file of each split, or None where one is not here and cannot be fetched."""
        found = {}
        for split in SPLITS:
            entry = self.content["systems"][system][split]
            if self.is_shipped:
                path = shipped_folder("datasets") / entry["path"]
                verify(path, entry["checksum"])
                found[split] = Found(path, "shipped with mlip-bench")
                continue
            url = self.content["url"] + entry["path"]
            file = find(self.name, entry["path"], url, entry["checksum"], download=download)
            if file is None:
                return None
            found[split] = file
        return found

    def crystal(self, system: str) -> Atoms:
        """Return the conventional cell of a system's ground state."""
        from ase.build import bulk  # it takes long to import, and lists of records do without

        entry = self.content["systems"][system]
        return bulk(system, entry["crystal"], a=entry["lattice_constant"]["value"], cubic=True)

    def read(self, system: str, found: dict[str, Found]) -> Dataset:
        """Read located files into a dataset."""
        entry = self.content["systems"][system]
        order = entry.get("virial_order", VASP_ORDER)
        train, test = (read_structures(found[split].path, virial_order=order).structures for split in SPLITS)
        likeness = on_likeness(train, train, test)
        sources = " and ".join(dict.fromkeys(file.source for file in found.values()))
        return Dataset(
            name=self.name,
            system=system,
            train=train,
            test=test,
            crystal=self.crystal(system),
            origin=f"{self.name}/{system}, {sources}",
            notes=(*consistency.findings(train), *likeness.repeated, *likeness.leaks),
            leaks=tuple(likeness.leaks),
            level_of_theory=self.content["level_of_theory"],
            licence=self.content["licence"],
            citation=self.content["citation"],
        )


def records() -> dict[str, Record]:
    """Return all records that ship with this installation, by name."""
    paths = sorted(shipped_folder("datasets").glob("*.toml"))
    return {path.stem: Record(path.stem, tomllib.loads(path.read_text())) for path in paths}


def crystal(system: str) -> Atoms:
    """Return the crystal of a system that some record has."""
    for record in records().values():
        if system in record.systems:
            return record.crystal(system)
    known = {name for record in records().values() for name in record.systems}
    raise UserError(
        f"no crystal known for system '{system}'{did_you_mean(system, known)}; give --crystal FILE"
    )


def load(name: str, system: str) -> Dataset:
    """Return one system of a named dataset, downloaded if need be.

    ``auto`` takes the first that can be had: a downloadable dataset from the own folder, the cache or its
    address, then the one that ships with the package.
    """
    known = records()
    if name != "auto" and name not in known:
        raise UserError(f"unknown dataset '{name}'{did_you_mean(name, ['auto', *known])}, or give a file")
    candidates = [known[name]] if name != "auto" else sorted(known.values(), key=lambda r: r.is_shipped)
    having = [record for record in candidates if system in record.systems]
    if not having:
        systems = {system for record in candidates for system in record.systems}
        raise UserError(f"no data for system '{system}'{did_you_mean(system, systems)}")
    for record in having:
        found = record.locate(system)
        if found is not None:
            return record.read(system, found)
    raise UserError(
        f"the data of {having[0].name}/{system} is not here and its address cannot be reached: connect to "
        f"the network, or put the files into a folder and name it in {OWN_FOLDER}"
    )
