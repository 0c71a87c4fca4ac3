"""Models that write: decoders and encoder-decoders.

``model.py`` is what kinds use: prompts in, texts out. It hands token ids to an *engine* (``engine.py``), which
takes all prompts of a window at once and batches them as suits it; ``engines.py`` makes one from a model's files.
"""
