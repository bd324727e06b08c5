"""From the JSON of one or more runs to tables, figures and Markdown. Reads files only and never imports torch."""
