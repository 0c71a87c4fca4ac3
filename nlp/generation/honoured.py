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
    generation: GenerationConfig,
    decoding: Decoding,
    *,
    beams: int,
    seq2seq: bool,
    ends: int,
    forced: int,
    exact: bool,
) -> str | None:
    """Why CTranslate2 would write something else than transformers does, or None when it would not.

    Args:
        ends: how many tokens close an answer.
        forced: how many tokens an answer is forced to begin with.
        exact: whether it computes in fp32, where answers must be the same. In less, searches may part where what
            they find is about as likely ("Correctness, by precision" of the design).
    """
    reason = _search_differs(generation, decoding, seq2seq=seq2seq)
    if reason is not None or beams == 1:
        return reason
    if ends > 1:
        # It looks at twice as many continuations as there are beams. All of them may be ends.
        return "its beams run out where several tokens end an answer"
    if forced > 1 and not _only_falls(generation):
        return "its beams count all the forced tokens in an answer's length"
    return _beams_differ(generation, decoding) or (_beams_part(generation) if exact else None)


def _search_differs(
    generation: GenerationConfig, decoding: Decoding, *, seq2seq: bool
) -> str | None:
    """What no search can honour."""
    if decoding.temperature > 0:
        return "it draws from one generator for a whole batch, so that neighbours would change a row's draws"
    for name, value in generation.to_diff_dict().items():
        if name in _NEUTRAL or name in _HONOURED or value is None or value == _OFF.get(name):
            continue
        return f"the model's generation configuration sets {name} to {value!r}"
    if generation.no_repeat_ngram_size and not seq2seq:
        return "no_repeat_ngram_size of a decoder counts the prompt too"
    tokens = (generation.forced_eos_token_id, generation.forced_bos_token_id)
    if any(isinstance(one, list) for one in tokens):
        return "several tokens are forced at one place"
    return None


def _beams_differ(generation: GenerationConfig, decoding: Decoding) -> str | None:
    """What no precision excuses."""
    if generation.early_stopping not in {True, False, None} and not _only_falls(generation):
        return f"its beams stop otherwise than early_stopping={generation.early_stopping!r}"
    others = any(sequence != [generation.pad_token_id] for sequence in _banned(generation))
    if generation.no_repeat_ngram_size or decoding.no_loops or decoding.min_tokens or others:
        # transformers takes the other tokens' probabilities as they are, CTranslate2 makes them add up to one again;
        # for the padding token that is the same, nearly: it has hardly any probability.
        return "its beams weigh the other tokens otherwise where some are ruled out"
    return None


def _beams_part(generation: GenerationConfig) -> str | None:
    """What may lead to another answer that is about as likely."""
    if generation.early_stopping is not True and not _only_falls(generation):
        # transformers goes on while its best open beam scores above its worst finished one, CTranslate2 until a
        # number of beams is finished. Either may see an answer that the other does not.
        return f"in fp32 its beams must stop as with early_stopping={generation.early_stopping!r}"
    if generation.forced_eos_token_id is not None:
        # Answers that are cut are compared with finished ones by a length without the closing token.
        return "in fp32 its beams must weigh a closing token that is forced"
    if _banned(generation):
        return "in fp32 its beams must weigh the other tokens where some are ruled out"
    return None


def _only_falls(generation: GenerationConfig) -> bool:
    """Whether scores are plain sums, so that no open beam can come to more than it has.

    Then both libraries end with the best answer there is, whenever they stop: CTranslate2 stops as soon as it leads.
    """
    return bool(generation.length_penalty == 0)


def _banned(generation: GenerationConfig) -> list[list[int]]:
    single = [[token] for token in generation.suppress_tokens or ()]
    return [*(generation.bad_words_ids or ()), *single]
