"""The demo: real jobs on real text of this machine."""
