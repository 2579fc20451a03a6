"""HTTP service: slides, predictions and explanations. `wsigraph.service.app.create_app` returns the application."""
