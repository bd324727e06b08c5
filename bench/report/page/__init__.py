"""index.html: summary.md as one page that needs no other file, with tables to sort and filter."""
