"""Audit of a data set before training (torch only for the features of images)."""
