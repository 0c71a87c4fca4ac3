"""What incremental runs of a schedule know of the ones before: an index of all outputs, by what they follow from."""

from storage.corpus.building import IndexBuilder
from storage.corpus.index import CorpusIndexes, DamagedIndex, IndexRecord, Measured
from storage.corpus.lookup import Lookup
from storage.corpus.scratch import ScratchFull

__all__ = [
    "CorpusIndexes",
    "DamagedIndex",
    "IndexBuilder",
    "IndexRecord",
    "Lookup",
    "Measured",
    "ScratchFull",
]
