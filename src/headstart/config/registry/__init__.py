"""Torch-free rows of the components; their factories are import paths."""
