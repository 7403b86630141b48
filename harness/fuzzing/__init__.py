"""Fuzz campaigns: properties are checked in turn, without end, in this process or on a cluster's workers.

campaign.py  the schedule of tasks, and one task
worker.py    a process's description of itself; cluster.py: the workers of a dask cluster
finds.py     finds as files in suites/finds; totals.py: the counts, files and rows of a campaign
"""
