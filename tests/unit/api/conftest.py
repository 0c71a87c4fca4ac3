"""The OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest

from api.openapi import document
from server.discovery import discover
from tests.unit.api.applications import application


@pytest.fixture(scope="session")
def openapi() -> dict[str, Any]:
    """The document, with the built-in kinds."""
    return document(application(), discover(), "0.0.0")
