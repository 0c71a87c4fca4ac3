"""The HTTP API: routes, authentication, problem documents. Never loads torch."""
