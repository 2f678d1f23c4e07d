"""Small vocabularies of the two kinds that the tiny models need: byte-level BPE and WordPiece.

A chat model's answers are words of WORDS alone, each a token that begins with a space: so an answer's text says which tokens it is made of.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

from gguf_writer import INT32, STRING, UINT32, Metadata

NORMAL, UNKNOWN, CONTROL = 1, 2, 3

WORDS = (
    "able about air all and apple as ask at back bake be bell big bird black blue boat book box bread bright bring brown build by call came can car care chair city clean clear "
    "cloud cold colour come cool corn count cup dark day deep door down dream dry each early earth east edge end even eye fall farm fast field find fire fish five flat floor "
    "flower fly food for forest four free fresh from full game garden gate give glass go gold good grass great green ground grow half hand happy hard have head hear heart "
    "high hill home horse hot house ice in iron it jump keep key kind king lake lamp land large last late leaf learn left letter light like line little live long look lost loud "
    "low make map many mark market may milk mind month moon morning mountain move music name near new night nine no north note of old on one open orange over page paper part "
    "path peace pen piece place plant play point pool quick quiet rain read red rest rice right ring river road rock roof room round run salt same sand say sea see seed seven "
    "shade ship shore short show silver sing six sky sleep slow small snow soft song south space spring star stay step still stone storm story street strong sugar summer sun "
    "table take tall tell ten the thing three time to top tower town tree true two under up us valley very voice wait walk wall warm watch water wave way we week well west wheel "
    "white wide wind window winter wish with wood word work world write yard year yellow yes young"
).split()
# Words that are tokens of their own without a space before them.
OPENINGS = ("user", "system", "assistant", "The", "What", "int", "return", "search_query", "Instruct", "Query")


class Bpe(NamedTuple):
    tokens: list[str]
    merges: list[str]
    specials: list[str]

    def id(self, token: str) -> int:
        return self.tokens.index(token)

    def answers(self) -> list[int]:
        """The tokens that answers are made of."""
        return [self.id("\u0120" + word) for word in WORDS]


def byte_characters() -> list[str]:
    """GPT-2's characters for the 256 bytes, in the order of its vocabulary: those that can be seen stand for themselves."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = {byte: chr(byte) for byte in seen}
    for byte in range(256):
        characters.setdefault(byte, chr(256 + len(characters) - len(seen)))
    return [characters[byte] for byte in [*seen, *(byte for byte in range(256) if byte not in seen)]]


def byte_level_bpe(specials: Sequence[str]) -> Bpe:
    """Each word is merged from its left end, character by character."""
    tokens, merges = byte_characters(), []
    known = set(tokens)
    for word in [*OPENINGS, *("\u0120" + word for word in WORDS)]:
        for end in range(2, len(word) + 1):
            if word[:end] not in known:
                known.add(word[:end])
                tokens.append(word[:end])
                merges.append(f"{word[: end - 1]} {word[end - 1]}")
    return Bpe([*tokens, *specials], merges, list(specials))


def put_bpe(metadata: Metadata, vocabulary: Bpe, pre: str, roles: dict[str, str]) -> None:
    metadata.put("tokenizer.ggml.model", STRING, "gpt2")
    metadata.put("tokenizer.ggml.pre", STRING, pre)
    metadata.put_array("tokenizer.ggml.tokens", STRING, vocabulary.tokens)
    metadata.put_array("tokenizer.ggml.token_type", INT32, [CONTROL if token in vocabulary.specials else NORMAL for token in vocabulary.tokens])
    metadata.put_array("tokenizer.ggml.merges", STRING, vocabulary.merges)
    for role, token in roles.items():
        metadata.put(f"tokenizer.ggml.{role}_token_id", UINT32, vocabulary.id(token))


WORDPIECE_SPECIALS = {"padding": "[PAD]", "unknown": "[UNK]", "cls": "[CLS]", "seperator": "[SEP]", "mask": "[MASK]"}  # sic: the format's spelling


def wordpieces() -> list[str]:
    """BERT's form: continuations are marked with ##."""
    letters = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isupper()]
    others = list("äöüßéèçñø°€£–—…αβγ東京都日本語")
    ends = ["##" + end for end in ("s", "ed", "ing", "er", "est", "ly", "ness", "tion", "able")]
    continued = ["##" + character for character in [*letters, *others] if character.isalnum()]
    return list(dict.fromkeys([*WORDPIECE_SPECIALS.values(), *letters, *others, *continued, *ends, *WORDS]))


def put_wordpieces(metadata: Metadata, vocabulary: Sequence[str], pre: str) -> None:
    """llama.cpp marks the beginning of a word with U+2581, where WordPiece marks its continuation with ##."""
    tokens, types = [], []
    for token in vocabulary:
        special = token in WORDPIECE_SPECIALS.values()
        tokens.append(token if special else token[2:] if token.startswith("##") else "\u2581" + token)
        types.append(CONTROL if special else NORMAL)
    metadata.put("tokenizer.ggml.model", STRING, "bert")
    metadata.put("tokenizer.ggml.pre", STRING, pre)
    metadata.put_array("tokenizer.ggml.tokens", STRING, tokens)
    metadata.put_array("tokenizer.ggml.token_type", INT32, types)
    for role, token in WORDPIECE_SPECIALS.items():
        metadata.put(f"tokenizer.ggml.{role}_token_id", UINT32, list(vocabulary).index(token))
    # The engine begins a text with this one, which it takes to be 101, as in BERT's own vocabulary.
    metadata.put("tokenizer.ggml.bos_token_id", UINT32, list(vocabulary).index("[CLS]"))
