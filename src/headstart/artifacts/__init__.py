"""Write what a run leaves besides its record: predictions, example images and the model folder."""
