"""Input as bytes, made into numbered rows.

Pure parsing: chunks of bytes come in, as they arrive from the object store or an upload; rows and bad rows come
out, one at a time. Memory is bounded by the largest row allowed plus one chunk, whatever the input holds, and how
the bytes were cut into chunks never changes a row.
"""

from jobs.intake.expand import expand
from jobs.intake.formats import detect
from jobs.intake.objects import ReadOptions, row_from_object
from jobs.intake.read import read_rows

__all__ = ["ReadOptions", "detect", "expand", "read_rows", "row_from_object"]
