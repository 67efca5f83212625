"""What a run leaves besides its record: predictions, pictures and the model folder."""
