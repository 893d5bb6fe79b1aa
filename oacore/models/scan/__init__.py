"""One recurrence, three ways to compute it, and the function that chooses among them."""
