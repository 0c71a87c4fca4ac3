"""``textmill-server``: starts each role, and the embedded servers where there are no others."""
