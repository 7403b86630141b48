"""judge and golden: one case again, and the stored results of the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs import app, direction_of, stop, tell


@app.command(
    epilog="Example: python -m harness judge --backend tensorflow --direction forward "
    '"Case(shape=(1, 1, 4, 5), boxes=((0.1, 0.2, 0.7, 0.9),), box_indices=(0,), crop_size=(2, 3))"'
)
def judge(
    case: Annotated[str, typer.Argument(help="The line that a failure printed: Case(...) or RoiCase(...).")],
    backend: Annotated[str, typer.Option(help="Whose result to judge: a name, or module:function.")] = "roi_align",
    direction: Annotated[str, typer.Option(help="forward, grad_image or grad_boxes.")] = "forward",
    of: Annotated[
        str, typer.Option("--property", help="The property that failed; by default the oracle judges the call.")
    ] = "",
) -> None:
    """Run one case on one backend and judge its result against the oracle; exit 1 if it does not pass."""
    from harness import properties
    from harness.backends import is_foreign
    from harness.faults import load
    from harness.judging import trial
    from harness.judging.isolation import isolated
    from harness.operators import operator_of, parse
    from harness.operators.verdict import Crashed, Hung
    from harness.repository import MissingLibrary

    wanted = direction_of(direction)
    try:
        asked = parse(case)
        operator = operator_of(asked).name
        stated = properties.find(of, operator) if of else None
        chosen = (isolated if is_foreign(backend) else load)(backend, operator)
    except (ValueError, MissingLibrary, Crashed, Hung) as error:
        stop(str(error))
    if not chosen.same_rule:
        stop(f"{chosen.title} computes another rule than the oracle; it can be timed, not judged.")
    if stated is not None:
        verdict = stated.holds(chosen, asked, wanted)
        if verdict is None:
            stop(f"{chosen.title} is not asked for this.")
    else:
        refusal = chosen.refuses(asked.inputs(), wanted)
        if refusal is not None:
            stop(refusal)
        verdict = trial.judged(chosen, asked, wanted)
    tell(f"{chosen.title}, {direction}: {verdict}")
    if not verdict.passed:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness golden")
def golden(
    path: Annotated[Path | None, typer.Argument(help="The file to write; by default the suite's own.")] = None,
    operator: Annotated[str, typer.Option(help="Of which operator: its peer is asked.")] = "crop_and_resize",
) -> None:
    """Remake the golden vectors: a peer's results for a few hundred cases, for machines that do not have it."""
    from harness.judging import golden as vectors
    from harness.operators import OPERATORS
    from harness.repository import MissingLibrary

    named = next((each for each in OPERATORS if each == operator), None)
    if named is None:
        stop(f"There is no operator {operator!r}; there are {', '.join(OPERATORS)}.")
    target = path or vectors.path_of(named)
    try:
        remade = vectors.make(named)
    except MissingLibrary as missing:
        stop(str(missing))
    vectors.write(remade, target)
    tell(f"{remade}, {target.stat().st_size:,} bytes: {target}")
