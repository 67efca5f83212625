"""Use a trained model: predict and evaluate."""
