"""A whole study from slides and a clinical table: manifest, graphs, model, scores, explanations and a page."""
