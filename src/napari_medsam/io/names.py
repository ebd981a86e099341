"""The table of label names beside a label file: `<stem>.tsv` with the columns of BIDS' dseg.tsv."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from napari_medsam.errors import LabelsError, ReadError, WriteError
from napari_medsam.io.atomic import replacing
from napari_medsam.io.files import stem_of

INDEX, NAME, COLOR = "index", "name", "color"
UNKNOWN = "n/a"
"""What BIDS writes into a cell for which there is no value."""


def names_path(path: Path) -> Path:
    """Where the name table of the label file `path` lies."""
    return path.with_name(f"{stem_of(path)}.tsv")


def read_names(path: str | Path) -> dict[int, str]:
    """Label values and their names.

    Parameters
    ----------
    path : path
        A label file, beside which the table is looked for, or the table (.tsv) itself.

    Returns
    -------
    dict of int to str
        Ascending by value; empty when a label file has no table beside it.

    Raises
    ------
    ReadError
        There is a table that lacks the columns index and name, or an index that is no whole number.
    """
    table = Path(path)
    if table.suffix.lower() != ".tsv":
        table = names_path(table)
        if not table.is_file():
            return {}
    rows = _rows(table)
    if not {INDEX, NAME} <= set(rows[0]):
        raise ReadError(f"{table.name} is no table of label names: it needs the columns index and name, tab-separated.")
    at, called = rows[0].index(INDEX), rows[0].index(NAME)
    try:
        return dict(sorted((int(row[at]), row[called]) for row in rows[1:] if any(row)))
    except (ValueError, IndexError) as error:
        raise ReadError(f"{table.name} has a row without a whole-number index and a name. Correct it.") from error


def write_names(path: Path, names: Mapping[int, str], colors: Mapping[int, str] | None = None) -> Path:
    """Write the name table beside the label file `path`, whole or not at all, and return its path.

    A table that is there is continued: its columns and the order of its rows stay, and new values go to its end. Rows
    of values that `names` does not have go, but for the background's: their objects were of labels that are replaced.
    Nothing is written when `names` is empty. `colors` are hex strings such as "#ff8800". Tabs and line breaks in a
    name become spaces.

    Raises
    ------
    LabelsError
        A value that is no whole number from 0 upward.
    WriteError
        The system refuses, or what lies there is no table of label names.
    """
    table = names_path(path)
    if not names:
        return table
    require_own_table(path)
    cells = {_value(value): {NAME: names[value]} for value in names}
    rows = _of_values(cells.keys() | {0}, _rows(table)) if os.path.exists(table) else [[INDEX, NAME]]
    _put(rows, cells)
    if colors:
        _add_column(rows, COLOR)
        _put(rows, {_value(value): {COLOR: colors[value]} for value in names if value in colors})
    text = "".join("\t".join(row) + "\n" for row in rows)
    with replacing(table) as file:
        file.write(text.encode())
    return table


def _of_values(values: Collection[int], rows: Sequence[list[str]]) -> list[list[str]]:
    """The first row of a table, which names the columns, and the rows of `values`."""
    at = rows[0].index(INDEX)
    return [rows[0], *(row for row in rows[1:] if any(row) and int(row[at]) in values)]


def _put(rows: list[list[str]], cells: Mapping[int, Mapping[str, str]]) -> None:
    """Put `cells`, by value and column, into a table whose first row names the columns; new values go to its end."""
    columns = rows[0]
    at = columns.index(INDEX)
    for value in sorted(cells.keys() - {int(row[at]) for row in rows[1:]}):
        rows.append([str(value) if column == INDEX else UNKNOWN for column in columns])
    for row in rows[1:]:
        for column, text in cells.get(int(row[at]), {}).items():
            # a row may be shorter than the first
            row += [UNKNOWN] * (columns.index(column) + 1 - len(row))
            row[columns.index(column)] = _clean(text)


def _add_column(rows: list[list[str]], column: str) -> None:
    width = len(rows[0])
    if column in rows[0]:
        return
    for row, text in zip(rows, [column, *[UNKNOWN] * (len(rows) - 1)], strict=True):
        row += [UNKNOWN] * (width - len(row))
        row.insert(width, text)


def require_own_table(path: Path) -> None:
    """Raise WriteError when what lies where the name table would go is something else, which must not be lost."""
    table = names_path(path)
    if not os.path.exists(table):  # unlike Path.exists, no error for a name that is too long
        return
    try:
        read_names(table)
    except ReadError as error:
        raise WriteError(
            f"{table.name} is in the way: the label names would go there, but it is no table of label names. "
            "Choose another name for the labels, or move that file."
        ) from error


def _rows(table: Path) -> list[list[str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"{table.name} could not be read as text in UTF-8. Check the file.") from error
    return [line.split("\t") for line in text.split("\n")]


def _clean(text: str) -> str:
    # str.split covers every white space and line break that a reader of the table might split at
    return " ".join(str(text).split())


def _value(value: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < 0:
        raise LabelsError(f"A label is a whole number from 0 upward, not {value!r}.")
    return int(value)
