"""The judge itself on trial: faults planted on purpose, each of which some check has to find.

fault.py           what a fault of the step-by-step reference is; mutants, half_mutants, memory_mutants, roi_mutants
faulty_package.py  the package built with a fault of its own sources; crop_and_resize_faults, roi_align_faults,
                   python_faults, all of them in package_faults; first_failure is the plugin that runs in it
kills.py           which check finds which fault: results/mutants.csv
"""
