"""Why a model predicts what it predicts for a slide, and tests of whether the reasons are faithful to the model."""
