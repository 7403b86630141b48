"""The kernels under the compilers' sanitizers, in C++ drivers without Python or PyTorch.

driver_problems.py  turns the properties' cases into problems for a driver; packing.py: into bytes
sanitizers.py       builds a driver with a sanitizer and runs it over them
"""
