"""Which engine computes for a model: what agrees with the reference, what is fastest, what is remembered.

Pure decisions and the measuring itself; where results and conversions are kept is the workers' business.
"""
