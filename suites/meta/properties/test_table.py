"""The table in harness/properties names the file of every property's check, and nothing else."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from harness import properties
from harness.properties import Property, all_properties

ROWS = re.findall(r"^    (\S.*?)  +(\w+)\.py$", properties.__doc__ or "", re.MULTILINE)


def rows_of(property_: Property) -> list[str]:
    """The files that the table names for a property."""
    return [file for name, file in ROWS if fnmatchcase(property_.name, name.replace(" ...", "*"))]


def test_every_property_is_in_the_table_with_the_file_of_its_check() -> None:
    for property_ in all_properties():
        assert rows_of(property_) == [property_.check.__module__.rpartition(".")[2]], property_.name


def test_every_row_names_a_property() -> None:
    names = [property_.name for property_ in all_properties()]
    for name, _ in ROWS:
        assert any(each.startswith(name.removesuffix(" ...")) for each in names), name
