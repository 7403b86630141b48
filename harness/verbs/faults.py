"""mutants: every planted fault against every check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs import Json, app, bars, epilog, interruptible, one_of, publish, stop, tell


@app.command(
    epilog=epilog(
        "Example: python -m harness mutants --fault swapped_axes",
        {0: "every fault was found", 1: "a fault survives every check", 130: "interrupted, and nothing was stored"},
    )
)
def mutants(
    fault: Annotated[list[str] | None, typer.Option(help="Only these faults; nothing is stored then.")] = None,
    path: Annotated[Path, typer.Option("--output", help="Where the matrix goes.")] = Path("results/mutants.csv"),
    processes: Annotated[int, typer.Option(help="How many faults are tried at a time.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Say which check finds each planted fault first, and store the whole matrix."""
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from harness.conformance import kills
    from harness.faults import package
    from harness.faults.package import building
    from harness.repository import MissingLibrary

    names = kills.names()
    requests = [one_of("fault", name, names) for name in fault or names]
    selection = [each for each in names if each in requests]
    of_package = [each for each in package.FAULTS if kills.PACKAGE + each.name in selection]
    try:
        failing = building.control(of_package) if of_package else None
    except (MissingLibrary, RuntimeError) as error:
        stop(f"Faults of the package cannot be planted here: {error}")
    if failing is not None:
        stop(f"{failing} fails on the package without a fault, so it would seem to find every fault.")
    attempts_on: dict[str, list[kills.Attempt]] = {}
    with interruptible("nothing was stored."), bars() as progress, ProcessPoolExecutor(processes) as pool:
        task = progress.add_task("faults", total=len(selection))
        waiting = {pool.submit(kills.row_of, name): name for name in selection}
        for future in as_completed(waiting):
            attempts_on[waiting[future]] = future.result()
            progress.advance(task)
    attempts = [each for name in selection for each in attempts_on[name]]
    for each in attempts:
        if each.first:
            case = f"case {each.cases}: {each.detail}" if each.cases else ""
            tell(f"{each.fault:40} {each.direction:16} {each.check}  {case}"[:200])
    alive = kills.survivors(attempts)
    for name, direction in alive:
        tell(f"{name:40} {direction:16} SURVIVES every check")
    tell(f"{len(selection)} faults, {len(selection) - len({name for name, _ in alive})} killed")
    if not fault:
        kills.write(attempts, path)
        tell(f"matrix  {path.resolve()}")
    if as_json:
        survivors = [{"fault": name, "direction": direction} for name, direction in alive]
        publish({"faults": selection, "attempts": attempts, "survivors": survivors})
    if alive:
        raise typer.Exit(1)
