"""HTML report of runs and studies, one self-contained page. Imports no torch."""
