"""Campaigns without an end: properties hunted in turn, in this process or by a cluster's workers, and what they find.

campaign.py  which task comes next, and one task of it
hunter.py    what a process knows of itself before it hunts; cluster.py: the workers of a dask cluster
finds.py     a find as a file in suites/finds; haul.py: what a campaign brings home
"""
