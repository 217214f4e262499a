"""A CSV, JSONL or Parquet file in, its rows out one by one, with the line or row number of each.

A value is text, bool, a number, None, or a list or object of these.
"""

import csv
import json
import math
from collections.abc import Callable, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .entry import GalleryError
from .folder import is_number, value, wrong

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row]]

DEEPEST = 64  # lists in lists: what holds more cannot be answered as JSON
_PORTION = 1024  # rows of a Parquet file in memory
_BUFFER = 2**20  # bytes of a column's pages in memory


def reader(path: Path, name: str) -> Callable[[], Rows]:
    """What reads the file ``path`` from its beginning, each time anew; errors call it ``name``.

    Raises ``GalleryError``, now or while it reads, on a file that is none of its kind: half a list is no list.
    """
    kind = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[Path(name).suffix.lower()]
    numbers = _columns_of_numbers(path, name) if kind is _csv else frozenset()

    def read() -> Rows:
        try:
            for line, row in kind(path, name):
                yield line, {column: value(text, column in numbers) for column, text in row.items()} if numbers else row
        except UnicodeDecodeError as error:
            raise GalleryError(f"{name} cannot be read as UTF-8 ({error}). Save it again as UTF-8.") from error
        except OSError as error:
            raise GalleryError(f"{name} cannot be read ({error.strerror or error}).") from error

    return read


def _csv(path: Path, name: str) -> Rows:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(filter(any, lines), [])
            _check_names(name, header)
            for row in filter(any, lines):
                if len(row) > len(header):
                    advice = "Put quotes around a value with a comma."
                    raise GalleryError(
                        f"{name}, line {lines.line_num}: it has {len(row)} values for {len(header)} columns. {advice}"
                    )
                yield lines.line_num, {column: text for column, text in zip(header, row, strict=False) if column and text}
        except csv.Error as error:
            raise GalleryError(
                f"{name}, line {lines.line_num}: this is no CSV ({wrong(error)}). Write the list again."
            ) from error


def _columns_of_numbers(path: Path, name: str) -> frozenset[str]:
    numbers: set[str] = set()
    others: set[str] = {"id", "path"}
    try:
        for _, row in _csv(path, name):
            for column, text in row.items():
                if column not in others:
                    (numbers if is_number(text) else others).add(column)
    except UnicodeDecodeError as error:
        raise GalleryError(f"{name} cannot be read as UTF-8 ({error}). Save it again as UTF-8.") from error
    except OSError as error:
        raise GalleryError(f"{name} cannot be read ({error.strerror or error}).") from error
    return frozenset(numbers - others)


def _jsonl(path: Path, name: str) -> Rows:
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise GalleryError(f"{name}, line {line}: this is no JSON ({error}). Write the list again.") from error
            if not isinstance(row, dict):
                raise GalleryError(f"{name}, line {line}: this is no JSON object. Write {{…}} with a name for each value.")
            yield line, row


def _parquet(path: Path, name: str) -> Rows:
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True) as file:
            _check_names(name, file.schema_arrow.names)
            line = 0
            for portion in file.iter_batches(_PORTION):
                columns = {column: as_python(portion.column(place)) for place, column in enumerate(portion.schema.names)}
                for place in range(portion.num_rows):
                    line += 1
                    yield line, {column: values[place] for column, values in columns.items()}
            if line < (count := file.metadata.num_rows):  # where one column ends early, pyarrow ends too, and says nothing
                raise GalleryError(f"{name} is damaged (of {count:,} rows, {line:,} can be read). Write it again.")
    except (pa.ArrowException, ValueError, ArithmeticError) as error:
        raise GalleryError(f"{name} cannot be read as Parquet ({error}). Write it again.") from error


def as_python(column: pa.Array) -> list[Any]:
    """Python has no type for every time that Arrow has, so these become text at once."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return list((column.cast(pa.string()) if pa.types.is_temporal(column.type) else column).to_pylist())


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it: times and decimals as text, what is no number (NaN, infinity) as None. Raises ``ValueError``."""
    if depth > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # JSON can hold half a character, which nobody can keep
        return value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    if isinstance(value, dict):
        return {plain(name): plain(each, depth + 1) for name, each in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise ValueError(f"a value of the type {type(value).__name__} is none that JSON has")


def _check_names(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if column and columns.count(column) > 1})
    if twice:
        raise GalleryError(f"{name} has two columns named {', '.join(twice)}. Rename one of them.")
