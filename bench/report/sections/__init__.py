"""Sections of the report, one module each: a function from the content to a section, None where it has nothing."""
