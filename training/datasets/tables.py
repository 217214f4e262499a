"""A CSV, JSONL or Parquet file in, columns of text out, with the place of every row in its file."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import DataError
from .problems import Problem

SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Table:
    """``columns`` in one order of rows, every value as text; ``numbers``: where each row stands in its source.

    A row of a CSV file that has line breaks in its values is numbered by its last line.
    """

    columns: dict[str, list[str]]
    numbers: Sequence[int]
    problems: list[Problem] = field(default_factory=list)


def read(path: Path) -> Table:
    """Raises ``DataError`` when the file is no table at all; rows that cannot be read are problems of the table."""
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path} is not a table that can be read here. Give a {', '.join(SUFFIXES)} file.")
    try:
        return readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as UTF-8 ({error}). Save it again as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error


def _read_csv(path: Path) -> Table:
    numbers: list[int] = []
    problems = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        begin = 1  # the line on which the row being read begins
        try:
            header = next(filter(any, reader), [])
            _check_header(path, header)
            columns: list[list[str]] = [[] for _ in header]
            begin = reader.line_num + 1
            for row in reader:
                begin = reader.line_num + 1
                if not any(row):
                    continue
                if len(row) > len(header):
                    surplus = f"it has {len(row)} values for {len(header)} columns: put quotes around a value with a comma"
                    problems.append(Problem("bad-row", (reader.line_num,), surplus))
                else:
                    numbers.append(reader.line_num)
                    for column, value in zip(columns, row + [""] * (len(header) - len(row)), strict=True):
                        column.append(value)
        except csv.Error as error:
            advice = "Close every quote, and write a quote within quotes twice"
            raise DataError(f"{path} is no CSV in the row that begins on line {begin} ({error}). {advice}.") from error
    return Table({name: values for name, values in zip(header, columns, strict=True) if name}, numbers, problems)


def _check_header(path: Path, header: Sequence[str]) -> None:
    check_names(path, header)
    for separator in ";\t|":
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{path} separates its columns with {separator!r}. Save it again with commas.")


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raises ``DataError`` when two columns have one name."""
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has two columns named {', '.join(twice)}. Rename one of them.")


def _read_jsonl(path: Path) -> Table:
    columns: dict[str, list[str]] = {}
    numbers: list[int] = []
    problems = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = fields(line)
            except ValueError as error:
                problems.append(Problem("bad-row", (number,), f"it is {error}"))
                continue
            for name in row:
                if name not in columns:
                    columns[name] = [""] * len(numbers)
            for name, values in columns.items():
                values.append(row.get(name, ""))
            numbers.append(number)
    return Table(columns, numbers, problems)


def fields(line: str) -> dict[str, str]:
    """The fields of a JSON object as text. Raises ``ValueError`` with what ``line`` is instead."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("not a JSON object: write {…} with a name for each value")
        found = {name: text(value) for name, value in row.items()}
        "".join([*found, *found.values()]).encode()  # JSON can hold half a character, which nobody can write to a file
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg}, column {error.colno})") from error
    except UnicodeEncodeError as error:
        raise ValueError("not Unicode text: an escape of it is half a character") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


def _read_parquet(path: Path) -> Table:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        check_names(path, table.column_names)
        columns = {name: texts(table[name]) for name in table.column_names}
    except (pa.ArrowException, ValueError, ArithmeticError) as error:  # the last two for times that Python cannot hold
        raise DataError(f"{path} cannot be read as Parquet ({error}). Write it again.") from error
    return Table(columns, range(1, table.num_rows + 1))


def texts(column: pa.ChunkedArray) -> list[str]:
    """The values of a column of Arrow's, as ``text`` writes them."""
    plain = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_temporal(plain):  # Python has no type for every time that Arrow has
        column = column.cast(pa.string())
    return list(map(text, column.to_pylist()))


def text(value: Any) -> str:
    """Text as it is, nothing and NaN as the empty text, whole numbers without a point, everything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # a column of whole numbers with a gap in it is one of floats to many programs
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, int | float | list | dict) else str(value)
