"""JSON lines of results and errors, made into other formats.

Pure: chunks of JSON lines come in, as they arrive from the object store; chunks of CSV or Parquet go out. The columns
are known before the first row and never depend on the rows. Memory is bounded whatever the number of rows, and
how the lines were cut into chunks never changes a byte of what comes out.
"""

from jobs.outtake.columns import ErrorTable, ResultTable, Table
from jobs.outtake.formats import CONTENT_TYPES, FORMATS, OutputFormat, convert
from jobs.outtake.pieces import Cut, Piece, cut_lines

__all__ = [
    "CONTENT_TYPES",
    "FORMATS",
    "Cut",
    "ErrorTable",
    "OutputFormat",
    "Piece",
    "ResultTable",
    "Table",
    "convert",
    "cut_lines",
]
