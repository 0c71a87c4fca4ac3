"""Training: rows read and checked, a loop that can be killed, and tasks that say what a model learns."""
