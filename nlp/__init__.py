"""Models: task kinds, batching, loading and the model cache.

Usable as a library: nothing here knows of a queue, a database or an object store. Modules that need torch
or transformers import them at their top, and task kinds import such modules only inside methods, so that
``nlp.kinds`` can be read by processes which never load either.

``HF_HUB_OFFLINE=1`` belongs into the environment *before* the first import of transformers; models load
from folders only, and this keeps the libraries from asking the hub all the same. The process that owns
the environment sets it, not this package.
"""
