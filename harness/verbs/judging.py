"""judge and golden: one case again, and the stored results of the peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, known, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.operators import AnyCase
    from harness.operators.verdict import Verdict


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
    after: Annotated[
        list[str] | None, typer.Option(help="A case to ask for before it, where a failure depends on earlier calls.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(help="Seconds that a call on a small case may take; by default what the sheet says.")
    ] = None,
) -> None:
    """Run one case on one backend and judge its result against the oracle; exit 1 if it does not pass, 3 if the judge
    itself failed, which is not held against the backend."""
    from harness import properties
    from harness.backends import is_a_peer, is_foreign
    from harness.faults import load
    from harness.judging import trial
    from harness.judging.isolation import isolated
    from harness.operators import operator_of, parse
    from harness.operators.arrays import DIRECTIONS
    from harness.operators.verdict import Crashed, Hung, Status
    from harness.repository import MissingLibrary

    way = known("direction", direction, DIRECTIONS)
    with stop_at(ValueError, MissingLibrary, Crashed, Hung):
        *earlier, parsed = map(parse, (*(after or ()), case))
        operator = operator_of(parsed).name
        stated = properties.find(of, operator) if of else None
        apart = is_foreign(backend) or is_a_peer(backend)
        judged = isolated(backend, operator, limit) if apart else load(backend, operator)
    if not judged.same_rule:
        stop(f"{judged.title} computes another rule than the oracle; it can be timed, not judged.")

    def verdict_on(case: AnyCase) -> Verdict | None:
        return trial.judge_case(judged, case, way) if stated is None else stated.holds(judged, case, way)

    refusal = judged.refuses(parsed.inputs(), way) if stated is None else None
    if refusal is not None:
        stop(refusal)
    for each in earlier:
        verdict_on(each)
    verdict = verdict_on(parsed)
    if verdict is None:
        stop(f"{judged.title} is not asked for this.")
    tell(f"{judged.title}, {way}: {verdict}")
    if not verdict.passed:
        raise typer.Exit(3 if verdict.status is Status.JUDGE else 1)


@app.command(epilog="Example: python -m harness golden")
def golden(
    path: Annotated[Path | None, typer.Argument(help="The file to write; by default the suite's own.")] = None,
    operator: Annotated[str, typer.Option(help="Of which operator: its peer is asked.")] = "crop_and_resize",
) -> None:
    """Remake the golden vectors: a peer's results for a few hundred cases, for machines that do not have it."""
    from harness.judging import golden as vectors
    from harness.operators import OPERATORS
    from harness.repository import MissingLibrary

    name = known("operator", operator, OPERATORS)
    target = path or vectors.path_of(name)
    with stop_at(MissingLibrary):
        remade = vectors.make(name)
    vectors.write(remade, target)
    tell(f"{remade}, {target.stat().st_size:,} bytes: {target}")
