"""How good outputs are beside gold answers, and beside what a person would use without a model.

Everything is counted by *tallies*: rows go in one at a time and only counts are kept, so that ten million rows take
no more memory than ten. The functions over sequences use the same tallies.
"""
