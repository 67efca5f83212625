"""Initial weights: published weights, weight files and random initialization."""
