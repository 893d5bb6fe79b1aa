"""The severity axis in a network's features (chapter 13)."""
