"""A trained model at work: predict, evaluate, and open runs."""
