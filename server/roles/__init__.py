"""The roles that ``textmill-server`` can play, one module each."""
