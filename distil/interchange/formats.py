"""All formats: which class reads or writes which, and a user's words made into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from distil.config import Config, nearest, validate
from distil.errors import InputError
from distil.interchange.base import Exporter, Importer
from distil.interchange.csv import CsvImport
from distil.interchange.hdf5 import Hdf5Import
from distil.interchange.imitation import ImitationExport, ImitationImport
from distil.interchange.lerobot import LeRobotImport
from distil.interchange.lerobot_writer import LeRobotExport
from distil.interchange.minari import MinariImport
from distil.interchange.minari_writer import MinariExport
from distil.interchange.npz import NpzImport
from distil.interchange.parquet import ParquetExport, ParquetImport
from distil.interchange.rlds import RldsImport
from distil.interchange.rlds_writer import RldsExport
from distil.interchange.rllib import RLlibExport, RLlibImport
from distil.interchange.robomimic import RobomimicExport, RobomimicImport
from distil.interchange.zarr import ZarrImport

IMPORTERS: tuple[type[Importer], ...] = (
    CsvImport,
    Hdf5Import,
    ImitationImport,
    LeRobotImport,
    MinariImport,
    NpzImport,
    ParquetImport,
    RldsImport,
    RLlibImport,
    RobomimicImport,
    ZarrImport,
)
EXPORTERS: tuple[type[Exporter], ...] = (
    ImitationExport,
    LeRobotExport,
    MinariExport,
    ParquetExport,
    RldsExport,
    RLlibExport,
    RobomimicExport,
)
F = TypeVar("F", bound=Importer | Exporter)


def kind_of(format_class: type[Config]) -> str:
    """Return the format's name."""
    return str(format_class.model_fields["kind"].default)


def importer(kind: str, options: Mapping[str, Any]) -> Importer:
    """Return the importer of a format with its options; InputError names the nearest right word."""
    return _build(IMPORTERS, kind, options, "import")


def exporter(kind: str, options: Mapping[str, Any]) -> Exporter:
    """Return the exporter of a format with its options; InputError names the nearest right word."""
    return _build(EXPORTERS, kind, options, "export")


def _build(classes: tuple[type[F], ...], kind: str, options: Mapping[str, Any], what: str) -> F:
    known = {kind_of(format_class): format_class for format_class in classes}
    if kind not in known:
        raise InputError(f"{what}: no format {kind!r}{nearest(kind, list(known))}; one of {', '.join(known)}")
    return validate(known[kind], {"kind": kind, **options}, f"{what} {kind}")
