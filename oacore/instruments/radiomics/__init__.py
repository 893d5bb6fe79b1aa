"""Numbers of the same knees, and models on them (chapter 11)."""
