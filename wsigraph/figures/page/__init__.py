"""HTML pages: the stylesheet, the templates and the SVG charts that all pages share."""
