"""Is the new side slower? Compares two revisions or two functions side by side, or two stored runs.

    revisions.py     a revision's package, built in a folder of its own by its own setup.py
    rows.py          the rows to time: workloads as calls, each judged before it has a time
    timing.py        one process: it imports one side, judges and times every row, and writes JSON
    side_by_side.py  all processes in ABBA order, and the state of the machine meanwhile
    stored.py        a stored run, by its folder or its device
    pairing.py       two stored runs row by row, and the known changes between them
    verdicts.py      from the medians of processes to SAME, FAST, SLOW or UNCLEAR; plain statistics, no clock
    simulation.py    how often those verdicts are wrong, on noise of a known size

The harness of the checkout times both revisions, so that a change of the harness is no change of the kernels.
"""
