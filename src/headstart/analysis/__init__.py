"""What the numbers say: statistics, decision and words. numpy and scipy, no torch."""
