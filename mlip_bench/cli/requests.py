"""What a run was asked for, in ``run.toml``, so that the run can be repeated."""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlip_bench.cli.choices import chosen, parse_cores, read_dataset, with_device
from mlip_bench.data.dataset import Dataset, with_crystal
from mlip_bench.data.reading import ReadingOptions
from mlip_bench.errors import UserError
from mlip_bench.measure import MEASURES
from mlip_bench.potentials import presets
from mlip_bench.results import versions
from mlip_bench.run.inputs import PotentialPlan
from mlip_bench.run.plan import Plan


@dataclass(frozen=True)
class DataRequest:
    """The options that name the data."""

    system: str | None
    dataset: str
    train: Path | None
    test: Path | None
    split: str
    seed: int
    crystal: Path | None
    reading: ReadingOptions

    def read(self, whole: bool = False) -> Dataset:
        """Return the data; ``whole`` sets nothing aside for testing."""
        data = read_dataset(
            self.system, self.dataset, self.train, self.test, self.seed, self.reading, self.split, whole
        )
        return data if self.crystal is None else with_crystal(data, self.crystal)

    def as_table(self) -> dict[str, Any]:
        """Return the options as ``run.toml`` has them: paths whole, options that were not given left out."""
        named = dataclasses.asdict(self) | {
            key: str(path.absolute())
            for key in ("train", "test", "crystal")
            if (path := getattr(self, key)) is not None
        }
        if Path(self.dataset).exists() and self.train is None:
            named["dataset"] = str(Path(self.dataset).absolute())
        given = {key: value for key, value in named["reading"].items() if value not in (None, False, ())}
        return named | {"reading": {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}}

    @classmethod
    def of_table(cls, table: dict[str, Any]) -> "DataRequest":
        """Return what :meth:`as_table` wrote; raises KeyError, TypeError for anything else."""
        reading = dict(table["reading"])
        if "elements" in reading:
            reading["elements"] = tuple(reading["elements"])
        paths = {key: Path(table[key]) if key in table else None for key in ("train", "test", "crystal")}
        return cls(
            system=table.get("system"),
            dataset=table["dataset"],
            split=table["split"],
            seed=table["seed"],
            reading=ReadingOptions(**reading),
            **paths,
        )


def repeated(path: Path, trust: bool, here: bool) -> tuple[DataRequest, Plan, list[str]]:
    """Return what the run of a ``run.toml`` was asked for, its plan, and what is to be said of it.

    Hyper-parameters are those of the file, whatever presets say today. Where it is repeated ``here``, this
    machine must have its device. Raises :class:`UserError` where it is no description of a run, and where the
    data has changed since.
    """
    path = path / "run.toml" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: no such file; --from takes the run.toml of a run, or its folder")
    try:
        content = tomllib.loads(path.read_text())
        request = DataRequest.of_table(content["request"])
        potentials = tuple(_planned(name, entry) for name, entry in content["potentials"].items())
        options = {key: content[key] for key in ("seed", "device", "preset")}
        measures = chosen(",".join(content["measures"]), list(MEASURES), "measure")
        presets.with_sources(next(iter(content["potentials"].values()))["family"], options["preset"], "")
        given = {name: dict(chosen_of) for name, chosen_of in content.get("options", {}).items()}
        limited = {name: list(names) for name, names in content.get("limited", {}).items()}
        profile = content.get("profile")
        on_cores = ",".join(map(str, content.get("cores", [1])))
        sha256, then = content["dataset"]["sha256"], dict(content["versions"])
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the description of a run that can be repeated ({error})") from error
    with_device([potential.family for potential in potentials], options["device"], here)
    data = request.read()
    if data.sha256 != sha256:
        raise UserError(
            f"{path}: the data has changed since that run ({data.origin}); repeat it with its options instead"
        )
    cores = parse_cores(on_cores, measures, options["device"], here)
    plan = Plan(
        data,
        potentials,
        tuple(measures),
        **options,
        trust=trust,
        given=given,
        split=request.split,
        limited=limited,
        cores=cores,
        profile=profile,
    )
    return request, plan, _changes(then)


def _planned(name: str, entry: dict[str, Any]) -> PotentialPlan:
    source = Path(entry["source"]) if "source" in entry else None
    potential = PotentialPlan(
        name, entry["family"], entry["hypers"], source, entry.get("seed"), entry.get("share")
    )
    potential.resolved()
    return potential


def _changes(then: dict[str, str]) -> list[str]:
    """Say which packages have another version than in that run."""
    now = versions()
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    absent = "not installed"
    changed = [f"{name} {then.get(name, absent)}, now {now.get(name, absent)}" for name in names]
    return [f"that run was made with {'; '.join(changed)}"] if changed else []
