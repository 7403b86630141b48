"""Pictures as SVG that lies inside the page."""
