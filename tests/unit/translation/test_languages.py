"""Which language a code means, to a user and to a model."""

from __future__ import annotations

import pytest
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES as M2M100_CODES
from transformers.models.mbart50.tokenization_mbart50 import FAIRSEQ_LANGUAGE_CODES as MBART_CODES
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES as NLLB_CODES

from nlp.translation.languages import Languages, UnknownLanguageError, is_language, parse, tag_of

NLLB = Languages(NLLB_CODES)
M2M100 = Languages(M2M100_CODES["m2m100"])
MBART = Languages(MBART_CODES)


@pytest.mark.parametrize(
    ("wanted", "codes"),
    [
        ("de", ("deu_Latn", "de", "de_DE")),
        ("deu", ("deu_Latn", "de", "de_DE")),
        ("German", ("deu_Latn", "de", "de_DE")),
        ("de-AT", ("deu_Latn", "de", "de_DE")),
        ("deu_Latn", ("deu_Latn", "de", "de_DE")),
        ("en_GB", ("eng_Latn", "en", "en_XX")),
        ("zh", ("zho_Hans", "zh", "zh_CN")),
        ("zh-TW", ("zho_Hant", None, None)),
        ("zh-Hant", ("zho_Hant", None, None)),
        ("ko-KR", ("kor_Hang", "ko", "ko_KR")),
        ("ar", ("arb_Arab", "ar", "ar_AR")),
        ("fa", ("pes_Arab", "fa", "fa_IR")),
        ("prs", ("prs_Arab", "fa", "fa_IR")),
        ("iw", ("heb_Hebr", "he", "he_IL")),
        ("nb", ("nob_Latn", "no", None)),
        ("nn", ("nno_Latn", None, None)),
        ("sr-Latn", (None, None, None)),
        ("ks", ("kas_Arab", None, None)),
        ("ks-Deva", ("kas_Deva", None, None)),
        ("lv", ("lvs_Latn", "lv", "lv_LV")),
        ("tl", ("tgl_Latn", "tl", "tl_XX")),
        ("ps", ("pbt_Arab", "ps", "ps_AF")),
    ],
)
def test_what_models_call_it(wanted: str, codes: tuple[str | None, ...]) -> None:
    for languages, code in zip((NLLB, M2M100, MBART), codes, strict=True):
        if code is None:
            with pytest.raises(UnknownLanguageError, match="is not a language of this model"):
                languages.find(wanted)
        else:
            assert languages.find(wanted).code == code


@pytest.mark.parametrize("languages", [NLLB, M2M100, MBART], ids=["nllb", "m2m100", "mbart"])
def test_tags_and_own_codes_name_one_language_each(languages: Languages) -> None:
    tags = [language.tag for language in languages]
    assert len(set(tags)) == len(tags)
    for language in languages:
        assert languages.find(language.code) == language
        if not language.tag.startswith(("apc", "ak")):  # of which NLLB has two
            assert languages.find(language.tag) == language


def test_tags_are_the_same_for_every_model() -> None:
    for wanted, tag in [("de", "de"), ("zh", "zh"), ("no", "no"), ("tl", "fil"), ("he", "he")]:
        assert {languages.find(wanted).tag for languages in (NLLB, M2M100)} == {tag}
    assert NLLB.find("zh-TW").tag == "zh-Hant"
    assert NLLB.find("ace_Arab").name == "Acehnese (Arabic)"


def test_several_may_be_meant() -> None:
    with pytest.raises(UnknownLanguageError, match="any of aka_Latn, twi_Latn"):
        NLLB.find("ak")


def test_any_language() -> None:
    every = Languages(None)
    assert every.is_open
    assert every.only is None
    assert every.find("zh_TW").name == "Chinese (Traditional)"
    assert every.find("Swiss German").tag == "gsw"
    with pytest.raises(UnknownLanguageError, match="'xx' names no language"):
        every.find("xx")


def test_families_are_no_languages() -> None:
    assert [is_language(code) for code in ("en", "deu", "mul", "ROMANCE", "gem")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert tag_of("sr_Latn") == "sr-Latn"
    assert parse("not a code").language == "not a code"
    assert Languages(["deu"]).only == Languages(["de", "deu"][1:]).find("de")
