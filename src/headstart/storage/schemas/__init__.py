"""Schemas of the files that headstart writes: frozen pydantic models.

Attributes are named as the keys in the files. `docs/schemas.py` generates the tables of `docs/formats.md` and
`verdict.schema.json` from them.
"""
