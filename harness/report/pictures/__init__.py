"""Pictures as SVG elements of the page."""
