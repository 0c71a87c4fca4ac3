"""Encoders of the BERT family without padding: rows laid end to end, computed as one long sequence.

:mod:`nlp.encoders.stack` takes the weights out of a transformers model, :mod:`nlp.encoders.packing` lays rows end to
end, :mod:`nlp.encoders.attention` keeps them apart, :mod:`nlp.encoders.packed` computes, and
:mod:`nlp.encoders.agreement` says whether the result is that of plain transformers.
"""
