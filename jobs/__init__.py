"""The vocabulary of Textmill: job specs, states, rows, errors, settings and what a task kind is.

Pure values and pure functions. Nothing here opens a file, a socket or a process.
"""
