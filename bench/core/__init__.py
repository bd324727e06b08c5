"""Nouns and tables that all parts read. Standard library only."""
