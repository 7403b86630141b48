"""Whether two runs were measured on the same machine with the same software, and the differences.

A new driver, a newer torch or another number of threads changes times just as a new kernel does. A run's description of
its machine is therefore reduced to the facts that times depend on; the project's own revision is not one of them,
because it is what a comparison is about.
"""

from __future__ import annotations

import json
from typing import Any

from harness.repository import digest

_FACTS = (
    "cpu", "instruction_set", "cores", "threads", "memory_bytes", "system", "gpu", "driver", "capability",
    "multiprocessors", "l2_bytes", "gpu_memory_bytes",
)  # fmt: skip


def facts(machine: dict[str, Any]) -> dict[str, str]:
    """The facts that times depend on, by name, from a run's description of its machine; includes library versions."""
    by_name = {name: str(machine[name]) for name in _FACTS if name in machine}
    return by_name | {name: str(version) for name, version in machine.get("versions", {}).items()}


def fingerprint(machine: dict[str, Any]) -> str:
    """A digest of the facts, eight hexadecimal digits."""
    text = json.dumps(facts(machine), sort_keys=True)
    return digest(text.encode(), size=4)


def revision(machine: dict[str, Any]) -> str:
    """The revision of a run in seven digits, with a + if files differed from it."""
    return str(machine.get("revision", "unknown"))[:7] + ("+" if machine.get("dirty") else "")


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The differences of two machines, as in "torch 2.11.0 -> 2.12.0"; a missing fact is "none"."""
    old, new = facts(before), facts(after)
    names = dict.fromkeys([*old, *new])
    return [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in names if old.get(name) != new.get(name)
    ]
