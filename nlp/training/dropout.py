"""How strongly a model drops activations while it is trained: architectures have a name of their own for each place."""

from __future__ import annotations

from transformers import PretrainedConfig

#: Names in transformers' configurations. Decoders' layer dropout (``layerdrop``) is another thing.
_NAMES = (
    "activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_dropout", "attn_pdrop",
    "classifier_dropout", "classifier_dropout_prob", "dropout", "dropout_rate", "embd_pdrop", "embedding_dropout",
    "hidden_dropout", "hidden_dropout_prob", "mlp_dropout", "pooler_dropout", "resid_pdrop", "seq_classif_dropout",
)  # fmt: skip


def set_dropout(config: PretrainedConfig, share: float) -> dict[str, float]:
    """Let the model that is made from this configuration drop this share everywhere where it can drop any.

    Returns:
        what the configuration said before, for the one that is saved.
    """
    before = {
        name: float(value)
        for name in _NAMES
        if isinstance(value := getattr(config, name, None), float | int)
    }
    for name in before:
        setattr(config, name, share)
    return before
