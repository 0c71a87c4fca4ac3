"""What the ledger costs, where it bends, and what follows for many devices and many rows: ``docs/scale.md``."""
