"""index.html: summary.md as one page that needs no other file, with tables that can be sorted and filtered."""
