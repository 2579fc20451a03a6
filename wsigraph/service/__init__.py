"""Slides, their graphs and the reasons for predictions over HTTP; `wsigraph.service.app.create_app` makes it."""
