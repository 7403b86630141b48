"""How tests do without what a machine lacks: a library, a compiler, a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.repository import MissingLibrary


@contextmanager
def skip_if_missing() -> Iterator[None]:
    """Skips the test, or the module that is being imported, where its block needs something that is missing."""
    try:
        yield
    except MissingLibrary as missing:
        pytest.skip(str(missing), allow_module_level=True)
