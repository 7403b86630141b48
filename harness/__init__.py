"""What proves a RoIAlign right and measures how fast it is.

Two streams run through this package, each one way:

    strategies -> Case -> backend -> output -> judge (oracle) -> Verdict
    workloads  -> Case -> backend -> clock  -> results/*.json -> report
"""
