"""Where a network looks, and what else such a map follows (chapter 14)."""
