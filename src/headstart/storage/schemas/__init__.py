"""Schemas of the files that headstart writes: frozen pydantic models.

Attributes are named as the keys in the files, which `docs/formats.md` describes.
"""
