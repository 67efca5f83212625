"""Figures of studies and runs for print."""
