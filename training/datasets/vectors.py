"""A Parquet file of vectors in, unit vectors and their labels out: what another program made, to be measured here.

Columns: ``vector`` (a list of numbers a row, all of one length), ``label``; where there are some ``role`` (query, gallery;
empty for both) and ``group`` (hits of the query's own group may be left out), and any others.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import DataError, tables
from .labels import ROLES
from .problems import Problem, refuse


def read(path: Path) -> tuple[np.ndarray, dict[str, list[str]]]:
    """→ float32 [N, D], rows of length 1, and the other columns as text.

    Raises ``DataError`` that lists every row that cannot be used.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        _check_names(path, table.column_names)
        columns = {name: tables.texts(table[name]) for name in table.column_names if name != "vector"}
    except (pa.ArrowException, OSError, ValueError, ArithmeticError) as error:  # the last two for times that Python cannot hold
        raise DataError(
            f"{path} cannot be read as Parquet ({error}). Give a file with the columns vector and label."
        ) from error
    vectors, largest = _vectors(path, table["vector"])
    refuse(path, _problems(largest, columns))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), columns


def _check_names(path: Path, names: list[str]) -> None:
    missing = [name for name in ("vector", "label") if name not in names]
    if missing:
        has = ", ".join(names) or "none"
        raise DataError(f"{path} lacks the column {' and '.join(missing)}; it must have vector and label, and has: {has}.")
    tables.check_names(path, names)


def _vectors(path: Path, column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, D], the largest number of each row brought to 1, so that no length overflows; and these numbers."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(f"{path}: the column vector is of type {kind}. Write it as lists of numbers.")
    if not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise DataError(f"{path}: the column vector holds lists of {kind.value_type}. Write it as lists of numbers.")
    column = column.combine_chunks()
    lengths = np.asarray(column.value_lengths().fill_null(0), np.int64)
    if not len(lengths):
        raise DataError(f"{path} holds no vectors. Give a file with a row for each image.")
    if not lengths.any():
        raise DataError(f"{path}: all vectors are empty. Write them as lists of numbers.")
    usual = int(np.bincount(lengths[lengths > 0]).argmax())
    odd = np.flatnonzero(lengths != usual)
    refuse(path, [Problem("bad-row", (int(row) + 1,), f"its vector has {lengths[row]} numbers, not {usual}") for row in odd])
    small = pa.types.is_float16(kind.value_type) or pa.types.is_float32(kind.value_type)
    values = column.flatten().cast(pa.float32() if small else pa.float64(), safe=False).fill_null(np.nan)
    rows = np.asarray(values).reshape(-1, usual)
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    usable = np.isfinite(largest) & (largest > 0)
    scaled = np.zeros(rows.shape, np.float32)
    np.divide(rows, largest[:, None], out=scaled, where=usable[:, None], casting="same_kind")
    return scaled, largest


def _problems(largest: np.ndarray, columns: dict[str, list[str]]) -> list[Problem]:
    """Vectors that have no direction, and values that mean nothing."""
    problems = []
    for row, value in enumerate(largest):
        if not np.isfinite(value):
            problems.append(Problem("bad-row", (row + 1,), "its vector holds NaN, infinity or an empty value"))
        elif not value:
            problems.append(Problem("bad-row", (row + 1,), "its vector is zero and has no direction"))
        if not columns["label"][row]:
            problems.append(Problem("empty-value", (row + 1,), "the label is empty"))
        if (role := columns["role"][row] if "role" in columns else "") not in ROLES:
            problems.append(Problem("unknown-role", (row + 1,), f"the role is {role!r}, not query, gallery or empty"))
    return problems
