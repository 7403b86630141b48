"""The judge itself on trial: faults planted on purpose, each of which some check has to find.

fault.py           what a fault of the step-by-step reference is; mutants, half_mutants, memory_mutants, roi_mutants
package/           faults of the package's own sources; building has it built with one, first_failure is the plugin of
                   pytest's that runs in it
kills.py           which check finds which fault: results/mutants.csv
"""
