"""judge and golden: run one case again, and remake the stored results of the peers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import Json, app, epilog, one_of, publish, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.operators import AnyCase
    from harness.operators.verdict import Verdict


@app.command(
    epilog=epilog(
        "Example: python -m harness judge --backend tensorflow --direction forward "
        '"Case(shape=(1, 1, 4, 5), boxes=((0.1, 0.2, 0.7, 0.9),), box_indices=(0,), crop_size=(2, 3))"',
        {
            0: "the result passes",
            1: "the result does not pass",
            3: "the judge itself failed, which is no fault of the backend",
        },
    )
)
def judge(
    case: Annotated[str, typer.Argument(help="The line that a failure printed: Case(...) or RoiCase(...).")],
    backend: Annotated[
        str, typer.Option(help="The backend whose result is judged: a name, or module:function.")
    ] = "roi_align",
    direction: Annotated[str, typer.Option(help="forward, grad_image or grad_boxes.")] = "forward",
    of: Annotated[
        str, typer.Option("--property", help="The property that failed; by default the oracle judges the call.")
    ] = "",
    after: Annotated[
        list[str] | None, typer.Option(help="A case to run first, where a failure depends on earlier calls.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(help="Seconds that a call on a small case may take; by default what the sheet says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run one case on one backend and judge its result against the oracle."""
    from harness import properties
    from harness.backends import is_a_peer, is_foreign
    from harness.faults import load
    from harness.judging import trial
    from harness.judging.isolation import isolated
    from harness.operators import operator_of, parse
    from harness.operators.arrays import DIRECTIONS
    from harness.operators.verdict import Crash, Hang, Status
    from harness.repository import MissingLibrary

    way = one_of("direction", direction, DIRECTIONS)
    with stop_at(ValueError, MissingLibrary, Crash, Hang):
        *earlier, parsed = map(parse, (*(after or ()), case))
        operator = operator_of(parsed).name
        property_ = properties.find(of, operator) if of else None
        apart = is_foreign(backend) or is_a_peer(backend)
        implementation = isolated(backend, operator, limit) if apart else load(backend, operator)
    if not implementation.same_rule:
        stop(f"{implementation.title} computes another rule than the oracle; it can be timed, not judged.")

    def verdict_on(case: AnyCase) -> Verdict | None:
        if property_ is None:
            return trial.judge_case(implementation, case, way)
        return property_.holds(implementation, case, way)

    refusal = implementation.refuses(parsed.inputs(), way) if property_ is None else None
    if refusal is not None:
        stop(refusal)
    for each in earlier:
        verdict_on(each)
    verdict = verdict_on(parsed)
    if verdict is None:
        stop(f"{implementation.title} is not asked for this.")
    tell(f"{implementation.title}, {way}: {verdict}")
    if as_json:
        publish(
            {
                "backend": backend,
                "title": implementation.title,
                "operator": operator,
                "direction": way,
                "property": of,
                "case": repr(parsed),
                "status": verdict.status.name,
                "passed": verdict.passed,
                "fraction": verdict.fraction,
                "compared": verdict.compared,
                "exact": verdict.exact,
                "ambiguous": verdict.ambiguous,
                "place": verdict.place,
                "value": verdict.value,
                "expected": None if verdict.expected is None else float(verdict.expected.value),
                "bound": None if verdict.expected is None else verdict.expected.bound,
                "reason": verdict.reason,
            }
        )
    if not verdict.passed:
        raise typer.Exit(3 if verdict.status is Status.JUDGE else 1)


@app.command(epilog=epilog("Example: python -m harness golden --operator roi_align", {0: "the file is written"}))
def golden(
    path: Annotated[Path | None, typer.Argument(help="The file to write; by default the suite's own.")] = None,
    operator: Annotated[str, typer.Option(help="The operator whose peer computes the vectors.")] = "crop_and_resize",
) -> None:
    """Make the golden vectors again: a peer's results for a few hundred cases, for machines without that peer."""
    from harness.judging import golden as vectors
    from harness.operators import OPERATORS
    from harness.repository import MissingLibrary

    name = one_of("operator", operator, OPERATORS)
    target = path or vectors.path_of(name)
    with stop_at(MissingLibrary):
        new = vectors.make(name)
    vectors.write(new, target)
    tell(f"{new}, {target.stat().st_size:,} bytes: {target}")
