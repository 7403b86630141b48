"""Skips tests on machines that lack a library, a compiler or a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.repository import MissingLibrary


@contextmanager
def skip_if_missing() -> Iterator[None]:
    """A context: skips the test, or the module being imported, if its block needs a missing library, compiler or
    GPU."""
    try:
        yield
    except MissingLibrary as missing:
        pytest.skip(str(missing), allow_module_level=True)
