"""How these tests read rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

from jobs.intake import ReadOptions, read_rows
from jobs.rows import BadRow, Row
from jobs.spec import StreamedFormat

Read = Callable[..., list[Row | BadRow]]

# A busy machine is no bug.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture(scope="session")
def read() -> Read:
    """Read all rows of some bytes, given in one chunk; further arguments are options."""

    def _read(data: bytes, form: StreamedFormat, **options: object) -> list[Row | BadRow]:
        return list(
            read_rows(
                [data],
                format=form,
                source="in",
                first_index=0,
                options=ReadOptions(**options),  # type: ignore[arg-type]  # options of several types
            )
        )

    return _read
