"""How each precision converts a classifier or loads a language model, and what it then stores."""
