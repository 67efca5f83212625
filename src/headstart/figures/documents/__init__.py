"""A lab report on a study or on runs as a document for an editor: Markdown, Word or LaTeX. Imports no torch."""
