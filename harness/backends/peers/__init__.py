"""The libraries that people use beside those which the suites need: a file for each, loaded only when it is asked for.

environments.py says where each is installed. Their sheets declare what a library's documentation claims; what it
excludes is not declared, with the sentence's source beside it.
"""
