"""CSV files (import only): a row a step, one episode a file or a column that names the episode."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import pyarrow as pa
from pyarrow import csv

from distil.errors import InputError
from distil.interchange.base import Contents
from distil.interchange.columns import TableFile, by_number
from distil.interchange.episodes import Finding, Report
from distil.interchange.tabular import TableImport, TabularRows

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class CsvImport(TableImport):
    """Reads a CSV or TSV file with a header, or all of a folder. Without a column `episode`, each file is one."""

    summary: ClassVar[str] = "CSV or TSV with a header: a row a step"
    kind: Literal["csv"] = "csv"

    def read(self, source: Path, report: Report) -> Contents:
        """See `Importer.read`. The files are read whole: they say a column's type by its values only."""
        tables = {file: _read(file) for file in _files(source)}
        options = self
        if all("episode" not in table.column_names for table in tables.values()) and self.episode == "episode":
            report(Finding(file=str(source), what="no column 'episode': each file is one episode (episode=...)"))
            options = self.model_copy(update={"episode": None})
        try:
            schema = pa.unify_schemas([table.schema for table in tables.values()], promote_options="permissive")
            files = [TableFile(path=file, table=table.select(schema.names).cast(schema)) for file, table in tables.items()]
        except (pa.ArrowException, KeyError) as error:
            raise InputError(f"{source}: its files have different columns ({str(error).splitlines()[0][:200]})") from None
        rows = TabularRows(options, files, report)
        spec = rows.spec()
        return Contents(spec=spec, episodes=rows.loaders(spec), stem=source.stem)


def _files(source: Path) -> list[Path]:
    found = source.rglob("*")
    files = [source] if source.is_file() else sorted((p for p in found if p.suffix.lower() in _SEPARATORS), key=by_number)
    if not files:
        raise InputError(f"{source}: no CSV files there; check the path")
    return files


def _read(file: Path) -> pa.Table:
    separator = _SEPARATORS.get(file.suffix.lower(), ",")
    try:
        table = csv.read_csv(file, csv.ReadOptions(use_threads=False), csv.ParseOptions(delimiter=separator))
        return table.rename_columns([name.strip() for name in table.column_names])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: can't be read as CSV: {str(error).splitlines()[0][:200]}") from None
