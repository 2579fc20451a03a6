"""Why a model reads what it reads from a slide, and whether the reasons hold."""
