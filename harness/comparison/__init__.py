"""Is the new one slower? Two revisions of the package or two functions side by side, or two runs that are stored.

    revisions.py     a revision's package, built in a folder of its own by its own setup.py
    rows.py          what is timed: workloads as calls, each judged before it has a time
    timing.py        one process: it imports one side, judges and times every row, and writes JSON
    side_by_side.py  all the processes, in ABBA order, and what the machine was doing meanwhile
    stored.py        a run that is stored already, by its folder or its device
    pairing.py       two stored runs row by row, and what is known to have changed between them
    verdicts.py      from the medians of processes to SAME, FAST, SLOW or UNCLEAR; plain statistics, no clock
    simulation.py    what those verdicts are worth: how often they are wrong, on noise of a known size

The harness of the checkout times both revisions, so that a change of the harness is no change of the kernels.
"""
