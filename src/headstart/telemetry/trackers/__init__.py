"""Send the scalars of records to trackers such as Weights & Biases, from a process of their own. No torch."""
