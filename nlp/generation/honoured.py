"""Which settings of a model's generation configuration CTranslate2 can honour."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from nlp.generation.decoding import Decoding

#: Settings that change no token that is chosen: what our own decoding replaces, bookkeeping, and what is printed.
_NEUTRAL = frozenset({
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version",
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "use_cache", "cache_implementation",
    "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "num_beams", "num_return_sequences",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "remove_invalid_values", "_from_model_config",
})  # fmt: skip
#: Settings that the engine passes on.
_HONOURED = frozenset({
    "length_penalty", "early_stopping", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens",
    "forced_bos_token_id", "forced_eos_token_id",
})  # fmt: skip
#: Values that mean "off", of settings that have such a value.
_OFF: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "renormalize_logits": False,
    "guidance_scale": 1.0,
}


def unhonoured(
    generation: GenerationConfig, decoding: Decoding, *, beams: int, seq2seq: bool
) -> str | None:
    """Why CTranslate2 would write something else than transformers does, or None when it would not."""
    if decoding.temperature > 0:
        return "it draws from one generator for a whole batch, so that neighbours would change a row's draws"
    for name, value in generation.to_diff_dict().items():
        if name in _NEUTRAL or name in _HONOURED or value is None or value == _OFF.get(name):
            continue
        return f"the model's generation configuration sets {name} to {value!r}"
    if generation.no_repeat_ngram_size and not seq2seq:
        return "no_repeat_ngram_size of a decoder counts the prompt too"
    if isinstance(generation.forced_eos_token_id, list) or isinstance(
        generation.forced_bos_token_id, list
    ):
        return "several tokens are forced at one place"
    return _beams_differ(generation, decoding) if beams > 1 else None


def _beams_differ(generation: GenerationConfig, decoding: Decoding) -> str | None:
    if generation.early_stopping not in {True, False, None}:
        return f"its beams stop otherwise than early_stopping={generation.early_stopping!r}"
    banned = [
        *(generation.bad_words_ids or ()),
        *([one] for one in generation.suppress_tokens or ()),
    ]
    others = any(sequence != [generation.pad_token_id] for sequence in banned)
    if generation.no_repeat_ngram_size or decoding.no_loops or decoding.min_tokens or others:
        # transformers takes the other tokens' probabilities as they are, CTranslate2 makes them add up to one again;
        # for the padding token that is the same, nearly: it has hardly any probability.
        return "its beams weigh the other tokens otherwise where some are ruled out"
    return None
