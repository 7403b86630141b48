"""The totals of a campaign so far: its counts, its finds as files, and its stored rows.

A find is stored on arrival, before shrinking, and again after shrinking; then the first file is deleted. So a find
survives whatever is killed in between, worker or campaign.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from harness.fuzzing import finds
from harness.fuzzing.campaign import Catch, LostTask
from harness.fuzzing.finds import Find
from harness.operators.arrays import Direction
from harness.operators.sheet import OperatorName

CSV_COLUMNS = (
    "run", "device", "backend", "title", "operator", "direction", "dtype", "cases", "finds", "largest_fraction", "seed",
    "seconds", "workers", "versions",
)  # fmt: skip
_Place = tuple[OperatorName, Direction, str]  # the last is the image's dtype


@dataclass(frozen=True)
class Origin:
    """The origin of a campaign's rows.

    run         its start, e.g. "20261125T031500Z".
    device      the name of the device in results; versions: of the libraries involved, as "torch 2.11.0; ...".
    backend, title  its name, and its title in tables for each operator.
    """

    run: str
    device: str
    backend: str
    title: dict[OperatorName, str]
    seed: int
    versions: str


class Totals:
    """The counts and finds of one campaign; its finds are stored in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: Counter[_Place] = Counter()
        self.fractions: dict[_Place, float] = {}
        self.refused: Counter[OperatorName] = Counter()
        self.lost: list[LostTask] = []
        self.stored: dict[Path, Find] = {}
        # Per task: this campaign's files of finds before shrinking.
        self._raw: dict[int, list[Path]] = defaultdict(list)
        self._final: set[Path] = set()
        self._smaller: dict[int, Find] = {}

    def hear(self, number: int, find: Find) -> None:
        """Stores a find of a running task."""
        if number in self._smaller and self._smaller[number].status == find.status:
            return  # another process has finished the task since
        path, is_new = self._store(find)
        if is_new:
            self._raw[number].append(path)

    def add(self, result: Catch | LostTask) -> str:
        """Adds the result of a task; returns its news in words, or ""."""
        if isinstance(result, LostTask):
            self.lost.append(result)
            return f"lost    {result.task}: {result.reason}"
        task, find = result.task, result.find
        self.refused[task.operator] += result.refusals
        for count in result.counts:
            place = (task.operator, task.direction, count.dtype)
            self.cases[place] += count.cases
            if count.fraction is not None:
                self.fractions[place] = max(self.fractions.get(place, 0.0), count.fraction)
        if find is None:
            return ""
        smaller, is_new = self._store(find)
        self._final.add(smaller)
        self._smaller[task.number] = find
        raw = self._raw.pop(task.number, [])
        for path in raw:
            if path not in self._final and self.stored[path].status == find.status:
                path.unlink()
                del self.stored[path]
        return (
            f"find    {task.operator}, {task.property}, {task.direction}: {smaller}" if is_new or smaller in raw else ""
        )

    def cases_of(self, operator: OperatorName) -> int:
        return sum(count for place, count in self.cases.items() if place[0] == operator)

    def largest(self) -> float:
        """The largest fraction of a bound used so far."""
        return max(self.fractions.values(), default=0.0)

    def is_empty(self) -> bool:
        return not self.stored and not self.lost

    def rows(self) -> list[dict[str, object]]:
        """A row for each operator, direction and image dtype: cases, finds, largest fraction of a bound used or ""."""
        finds_of = Counter(
            (find.operator, find.direction, find.parse_case().image_dtype) for find in self.stored.values()
        )
        return [
            {
                "operator": operator,
                "direction": direction,
                "dtype": dtype,
                "cases": self.cases[place],
                "finds": finds_of[place],
                "largest_fraction": self.fractions.get(place, ""),
            }
            for place in sorted({*self.cases, *finds_of})
            for operator, direction, dtype in [place]
        ]

    def settle(self) -> None:
        """Call after an interrupt: writes any file that the interrupt may have prevented."""
        for find in self.stored.values():
            finds.store(find, self.folder)

    def _store(self, find: Find) -> tuple[Path, bool]:
        # Recorded before it is written, so an interrupt cannot leave a file that no report names.
        self.stored[self.folder / find.file_name()] = find
        return finds.store(find, self.folder)


def record(totals: Totals, origin: Origin, seconds: float, workers: int, folder: Path) -> Path:
    """Writes the campaign's rows as DEVICE-RUN.csv in a folder, so files of many machines merge by copying."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{origin.device}-{origin.run}.csv"
    of_all = {
        "run": origin.run, "device": origin.device, "backend": origin.backend, "seed": origin.seed,
        "seconds": round(seconds, 1), "workers": workers, "versions": origin.versions,
    }  # fmt: skip
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for operator, title in origin.title.items():
            writer.writerows({**of_all, "title": title, **row} for row in totals.rows() if row["operator"] == operator)
    part.replace(path)
    return path
