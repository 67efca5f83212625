"""Typed, frozen configuration of runs and studies."""
