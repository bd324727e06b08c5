"""Two runs side by side: comparable or not, and what became worse. Reads files only, as the rest of the report."""
