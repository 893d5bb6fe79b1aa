"""Claims, deviations and recorded speed, judged for the report (chapters 7 and 12)."""
