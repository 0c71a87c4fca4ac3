"""What people would use instead: other libraries, called as their own guides do.

Runs in an environment of its own (``.venv-peers``) and imports nothing of Textmill, so that neither side's
packages or settings touch the other's.
"""
