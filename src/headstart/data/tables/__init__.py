"""Tables of labeled images: the formats, the columns, and the checks of labels and paths."""
