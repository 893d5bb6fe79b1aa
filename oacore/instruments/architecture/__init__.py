"""What is inside a network: its drawing, its attention, its gradients (chapters 4 to 7)."""
