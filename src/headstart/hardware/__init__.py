"""Devices, precision and calibration of the machine."""
