"""Engines, which execute runs: one module and one row of `registry` each."""
