"""Campaigns without an end: properties hunted in turn, in this process or by a cluster's workers, and what they find.

campaign.py  which task comes next, and one task of it
worker.py    what a process knows of itself before it hunts; cluster.py: the workers of a dask cluster
finds.py     a find as a file in suites/finds; totals.py: the counts, files and rows of a campaign
"""
