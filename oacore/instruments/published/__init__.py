"""The paper's released predictions and its statistical protocol (chapter 9)."""
