"""Printers of documents: Markdown, HTML, console, CSV. None reads what another has printed."""
