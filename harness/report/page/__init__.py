"""The page that shows it all, as HTML with filters and as Markdown."""
