"""The shapes of answers, as the OpenAPI document shows them. Tests hold the real answers to them.

Clients must ignore fields that they do not know: later versions add some.
"""
