"""Schemas of the files that headstart writes, and of what crosses a process: frozen pydantic models.

Attributes are named as the keys in the files. `docs/formats.md` has a table of each, generated from the field
descriptions.
"""
