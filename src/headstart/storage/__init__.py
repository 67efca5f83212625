"""Files, journal, locks and cache."""
