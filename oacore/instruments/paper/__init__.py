"""The paper's tables and figures, redrawn for print (chapter 24)."""
