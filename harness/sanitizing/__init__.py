"""The kernels under the compilers' sanitizers, by drivers in C++ that know neither Python nor PyTorch.

driver_problems.py  the cases of the properties as problems for a driver; packing.py: as the bytes that it reads
sanitizers.py       builds a driver with a sanitizer and runs it over them
"""
