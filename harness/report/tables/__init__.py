"""Tables of words and numbers, the same for Markdown, HTML and the terminal."""
