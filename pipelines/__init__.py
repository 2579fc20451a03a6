"""Study-level recipes over wsigraph; they compute nothing themselves."""
