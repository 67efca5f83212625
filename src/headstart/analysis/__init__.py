"""Statistics, decisions and sentences of a study's verdict (numpy and scipy, no torch)."""
