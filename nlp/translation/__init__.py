"""Translation: which languages a model knows, and documents cut so that it can translate them piece by piece.

``translator.py`` holds it together; everything else is a part of it that can be used and tested alone.
"""
