"""Further widely used libraries, for the matrix only: a file for each, imported on demand.

environments.py knows where each is installed. A sheet declares what the library's documentation claims; exclusions are
documented beside the sheet, with their source.
"""
