"""The characters of a web page, from bytes that may say of themselves how they are to be read, and may be wrong."""

from __future__ import annotations

import codecs
import re

#: Bytes at the beginning in which a page may name its encoding; the HTML standard's own limit.
_HEAD = 1024

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]{1,40})"""
    rb"""|<meta\s[^>]*?charset\s*=\s*["']?\s*([\w.:-]{1,40})""",
    re.IGNORECASE,
)

#: Python's codecs by what pages call them, after https://encoding.spec.whatwg.org/#names-and-labels: a page in
#: Latin-1 is read as Windows-1252, one in GB 2312 as GB 18030, and so on. A closed list, for among Python's codecs are
#: some that are no encodings of text.
_ONE_BYTE = {
    "cp1252": "windows-1252 cp1252 x-cp1252 iso-8859-1 iso8859-1 iso_8859-1 latin1 l1 us-ascii ascii",
    "cp1250": "windows-1250 cp1250 x-cp1250",
    "cp1251": "windows-1251 cp1251 x-cp1251",
    "cp1253": "windows-1253 cp1253 x-cp1253",
    "cp1254": "windows-1254 cp1254 x-cp1254 iso-8859-9 iso8859-9 iso_8859-9 latin5 l5",
    "cp1255": "windows-1255 cp1255 x-cp1255",
    "cp1256": "windows-1256 cp1256 x-cp1256",
    "cp1257": "windows-1257 cp1257 x-cp1257",
    "cp1258": "windows-1258 cp1258 x-cp1258",
    "cp866": "ibm866 cp866 866",
    "cp874": "windows-874 iso-8859-11 iso8859-11 tis-620",
    "iso8859-2": "iso-8859-2 iso8859-2 iso_8859-2 latin2 l2",
    "iso8859-3": "iso-8859-3 iso8859-3 latin3",
    "iso8859-4": "iso-8859-4 iso8859-4 latin4",
    "iso8859-5": "iso-8859-5 iso8859-5 cyrillic",
    "iso8859-6": "iso-8859-6 iso8859-6 arabic",
    "iso8859-7": "iso-8859-7 iso8859-7 greek",
    "iso8859-8": "iso-8859-8 iso-8859-8-i iso8859-8 hebrew",
    "iso8859-10": "iso-8859-10 iso8859-10 latin6",
    "iso8859-13": "iso-8859-13 iso8859-13",
    "iso8859-14": "iso-8859-14 iso8859-14",
    "iso8859-15": "iso-8859-15 iso8859-15 latin9",
    "iso8859-16": "iso-8859-16 iso8859-16",
    "koi8-r": "koi8-r koi8 koi",
    "koi8-u": "koi8-u koi8-ru",
    "mac-roman": "macintosh x-mac-roman mac",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
}
_OTHERS = {
    # What is called UTF-16 in the page's own ASCII cannot be it.
    "utf-8": "utf-8 utf8 unicode-1-1-utf-8 utf-16 utf-16le utf-16be",
    "gb18030": "gb18030 gbk x-gbk gb2312 gb_2312-80 chinese",
    "big5hkscs": "big5 big5-hkscs x-x-big5 cn-big5",
    "cp932": "shift_jis shift-jis sjis x-sjis windows-31j ms_kanji",
    "euc_jp": "euc-jp x-euc-jp",
    "iso2022_jp": "iso-2022-jp",
    "cp949": "euc-kr ks_c_5601-1987 ksc5601 windows-949 korean",
}
_CODECS = {
    label: codec for codec, labels in (_ONE_BYTE | _OTHERS).items() for label in labels.split()
}


def decode_page(data: bytes) -> str:
    """A page's text; what cannot be read in it becomes U+FFFD, as in a browser.

    A byte order mark counts first, then what the page declares, then UTF-8, then Windows-1252. Other than in a browser
    a page that is whole UTF-8 is read so although it declares an encoding of single bytes: nearly any bytes would be
    right in such a one, and crawlers recode pages without telling them.
    """
    for mark, marked in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(marked, "replace")
    codec = _declared(data)
    if codec is None or codec in _ONE_BYTE:
        try:
            return data.decode()
        except UnicodeDecodeError:
            codec = codec or "cp1252"
    return data.decode(codec, "replace")


def _declared(data: bytes) -> str | None:
    found = _DECLARED.search(data[:_HEAD])
    if found is None:
        return None
    label = found[1] or found[2]
    return _CODECS.get(label.decode("ascii", "replace").lower())
