"""fuzz: search for failing cases, for minutes or nights, on one machine or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, bars, epilog, repeated_interrupts, show, stop, tell

if TYPE_CHECKING:
    from harness.fuzzing.totals import Totals
    from harness.operators.sheet import OperatorName


@app.command(
    epilog=epilog(
        "Example: python -m harness fuzz --minutes 10. Start each worker of a cluster in this checkout, at this "
        "revision: PYTHONPATH=. DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker ADDRESS --nthreads 1, and for CUDA "
        '--resources "GPU=1"; docs/fuzzing.md says more.',
        {
            0: "no case failed",
            1: "a case failed, and is stored, or a part of the search was lost",
            130: "interrupted, and the failing cases so far are stored",
        },
    )
)
def fuzz(
    minutes: Annotated[float, typer.Option(min=0, help="How long to search.")] = 10,
    cases: Annotated[
        int | None, typer.Option(min=1, help="Instead of --minutes: how many cases of each operator to try.")
    ] = None,
    backend: Annotated[str, typer.Option(help="The backend to test: a name, or module:function.")] = "roi_align",
    operator: Annotated[
        str, typer.Option(help="crop_and_resize or roi_align; by default both, if the backend has both.")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="The campaign's seed, to repeat one; by default a new one, which is printed.")
    ] = None,
    cluster: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The scheduler of a dask.distributed cluster whose workers search.")
    ] = "",
    folder: Annotated[Path | None, typer.Option("--finds", help="Where finds are stored; by default suites/finds.")] = (
        None
    ),
    record: Annotated[bool, typer.Option("--record", help="Keep the campaign's counts in results/campaigns.")] = False,
) -> None:
    """Search for cases that an implementation fails, and store each one, made as small as possible."""
    import contextlib
    import secrets
    import time

    from harness.fuzzing import campaign, finds, worker
    from harness.fuzzing import cluster as clusters
    from harness.fuzzing import totals as records
    from harness.judging.cluster import UnusableCluster, connect
    from harness.repository import RESULTS, stamp

    of = _operators(backend, operator)
    client = None
    try:
        if cluster:
            client = connect(cluster)
            workers = clusters.ready(client, backend, of)
        else:
            workers = worker.about(backend, of)
    except UnusableCluster as unusable:
        if client is not None:
            client.close()
        stop(str(unusable))
    if workers.missing or not workers.sheets:
        stop(workers.missing or f"The backend {backend} has no {' and no '.join(of)}.")
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    origin = records.Origin(stamp(), workers.device, backend, workers.titles, seed, workers.versions)
    tell(f"{' and '.join(workers.sheets)} of {', '.join(dict.fromkeys(workers.titles.values()))}, --seed {seed}")

    start = time.monotonic()
    schedule = campaign.Schedule(
        backend, workers.sheets, seed, cases, lambda: cases is None and time.monotonic() - start >= 60 * minutes
    )
    totals = records.Totals(folder or finds.FOLDER)
    whole = 60 * minutes if cases is None else float(cases * len(workers.sheets))
    most, end = 1, ""
    with bars("says") as progress:
        task = progress.add_task("", total=whole, says="")

        def look(flying: int, count: int) -> None:
            nonlocal most
            most = max(most, count)
            seconds = time.monotonic() - start
            so_far = seconds if cases is None else float(schedule.done.total())
            progress.update(task, completed=min(so_far, whole), says=_says(totals, seconds, flying, count))

        source = (
            campaign.catches(schedule, totals.hear)
            if client is None
            else clusters.catches(client, workers, schedule, totals.hear, look)
        )
        try:
            with contextlib.closing(source), repeated_interrupts() as repeat_interrupt:
                look(1, 1)
                for result in source:
                    news = totals.add(result)
                    if news:
                        tell(news)
                    if client is None:
                        look(1, 1)
                    repeat_interrupt()
        except KeyboardInterrupt:
            totals.settle()
            end = "Interrupted; the finds so far are stored."
        except UnusableCluster as unusable:
            end = str(unusable)
    seconds = time.monotonic() - start
    if client is not None:
        client.close()
    _tell_all(totals, seconds)
    if record and totals.cases:
        tell(f"record  {records.record(totals, origin, seconds, most, RESULTS / 'campaigns')}")
    if end:
        tell(end)
        raise typer.Exit(130 if end.startswith("Interrupted") else 2)
    if not totals.is_empty():
        raise typer.Exit(1)


def _operators(backend: str, operator: str) -> tuple[OperatorName, ...]:
    """The operators to test: the one that was given, or all of the backend's."""
    import harness.faults  # noqa: F401  it registers the planted ones
    from harness.backends import is_foreign, operators_of
    from harness.operators import OPERATORS

    # An unknown backend is refused when it is loaded.
    has = tuple(OPERATORS) if is_foreign(backend) else operators_of(backend) or ("crop_and_resize",)
    if not operator:
        return has
    selection = tuple(each for each in has if each == operator)
    if not selection:
        stop(f"There is no {operator!r} of the backend {backend}; there is {' and '.join(has)}.")
    return selection


def _says(totals: Totals, seconds: float, flying: int, workers: int) -> str:
    cases = totals.cases.total()
    return (
        f"{cases:,} cases, {cases / max(seconds, 1e-9):,.0f}/s, {flying} tasks on {workers} "
        f"worker{'' if workers == 1 else 's'}, {len(totals.stored)} finds, {totals.largest():.1%} of a bound"
    )


def _tell_all(totals: Totals, seconds: float) -> None:
    """The campaign's table, and each find with its file and the command that reproduces it."""
    rows = []
    for row in totals.rows():
        largest = row["largest_fraction"]
        share = f"{largest:.1%}" if isinstance(largest, float) else "nothing rounded was judged"
        words = (str(row[column]) for column in ("operator", "direction", "dtype"))
        rows.append((*words, f"{row['cases']:,}", str(row["finds"]), share))
    header = ("operator", "direction", "images", "cases", "finds", "largest part of a bound")
    show(f"Asked in {seconds:,.0f} s", header, rows, words=3)
    for operator in sorted({place[0] for place in totals.cases}):
        refusals = totals.refused[operator]
        tell(f"{operator}: {totals.cases_of(operator):,} cases" + (f", {refusals:,} not asked for" if refusals else ""))
    for path, find in sorted(totals.stored.items()):
        tell(f"find    {path}\n  {find.status.upper()}: {find.reason}\n  {find.reproduction()}")
    for loss in totals.lost:
        tell(f"lost    {loss.task}: {loss.reason}")
    if totals.is_empty():
        tell("no finds")
