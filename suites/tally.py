"""Counts of a run's comparisons, which its summary prints: the evidence for a pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(repr=False)  # a failure prints its arguments; these counts would bury it
class Tally:
    """Counts of a run's comparisons, which its summary prints: the evidence for a pass."""

    compared: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    fraction: dict[str, float] = field(default_factory=dict)

    def bits(self, name: str, compared: int, different: int) -> None:
        self.cases[name] += 1
        self.compared[name] += compared
        self.different[name] += different

    def bound(self, name: str, fraction: float) -> None:
        self.cases[name] += 1
        self.fraction[name] = max(self.fraction.get(name, 0.0), fraction)

    def add(
        self,
        compared: dict[str, int],
        different: dict[str, int],
        cases: dict[str, int],
        fraction: dict[str, float],
    ) -> None:
        """Adds the counts of another process."""
        self.compared.update(compared)
        self.different.update(different)
        self.cases.update(cases)
        for name, largest in fraction.items():
            self.fraction[name] = max(self.fraction.get(name, 0.0), largest)
