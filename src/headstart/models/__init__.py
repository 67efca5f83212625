"""Torch pieces that take plain values and never see a plan."""
