"""Whether two runs were measured by the same machine and software, and what is not the same.

A new driver, a newer torch or a machine with other threads changes times as a new kernel does. What a run has stored of
its machine is therefore reduced to the facts that times hang on; the project's own revision is not among them, because
that is what is compared.
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
    """What times hang on, by name, of what a run has stored of its machine; each library's version is a fact."""
    found = {name: str(machine[name]) for name in _FACTS if name in machine}
    return found | {name: str(version) for name, version in machine.get("versions", {}).items()}


def fingerprint(machine: dict[str, Any]) -> str:
    """Eight hexadecimal digits that are the same for the same facts."""
    text = json.dumps(facts(machine), sort_keys=True)
    return digest(text.encode(), size=4)


def revision(machine: dict[str, Any]) -> str:
    """The revision that a run is of, in seven digits, with a + if files were changed since."""
    return str(machine.get("revision", "unknown"))[:7] + ("+" if machine.get("dirty") else "")


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not the same of two machines, as in "torch 2.11.0 -> 2.12.0"; a fact that one of them lacks is "none"."""
    old, new = facts(before), facts(after)
    names = dict.fromkeys([*old, *new])
    return [
        f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in names if old.get(name) != new.get(name)
    ]
