"""Compute every number of a verdict again from the records of its study, by code of its own.

Nothing is shared with the code that decides: this package imports the layer that reads files and its schemas, and has
each formula a second time, with its source. It shows that the numbers of a verdict follow from the records of its runs.
It does not show that the records are genuine.
"""
