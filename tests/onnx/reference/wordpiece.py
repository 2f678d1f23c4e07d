#!/usr/bin/env python3
"""Token ids of hostile texts by the tokenizers library (PyPI, tokenizers 0.23), to compare WordPiece with.

Each line of the output is  u|c HEX ID ID …  : uncased or cased, the text's UTF-8 in hexadecimal, its ids without [CLS] and [SEP]. The texts are made of code
points whose category has not changed since Unicode 3.2 (and of ideographs), because the library's tables are older than those of libutf8proc.

usage: python3 wordpiece.py VOCAB > wordpiece.txt
"""

import random
import sys
import unicodedata

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

COUNT = 760


def tokenizer(path, lower_case):
    with open(path, encoding="utf-8") as file:
        vocabulary = {line.rstrip("\n"): number for number, line in enumerate(file)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lower_case)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made


def settled():
    """Code points by category."""
    groups = {}
    for code in range(1, 0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category not in ("Cn", "Cs") and category == unicodedata.ucd_3_2_0.category(character):
            groups.setdefault(category, []).append(character)
    return groups


FIXED = [
    "", " ", "\t\r\n", "a", "A", "unaffable", "Hello, World!", "don't", "[CLS] [SEP] [MASK] [UNK] [PAD]", "##ing ##", "#", "...---...", "a\u00a0b\u3000c\u2028d\u2029e",
    "x" * 100, "x" * 101, "e\u0301" * 100, "e\u0301" * 101, "\u00e9" * 100, "\u00e9" * 101, "\U0001f600" * 100, "\ud55c" * 34, "1" * 500,
    "Crème brûlée", "C\u0327\u0301a va", "c\u0301\u0327a", "I\u0307 \u0130 \u0131 \u017f \u212a \u2126 \u1e9e", "\u03a3\u03a3 \u039f\u0394\u039f\u03a3.", "\ufb01\ufb02 \ufb03",
    "\u6771\u4eac\u306f\u65e5\u672c", "\uf900\ufaff", "\u4e00a\u9fa5b\u3400c\u4db5", "\U00020000\U0002a6d6", "\U0002b740\U0002b81d", "\U0002b820\U0002b920\U0002cea1", "\U0002f800\U0002fa1d",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab", "\u0915\u093f\u0924\u093e\u092c", "\u0e01\u0e33 \u0e44\u0e17\u0e22", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629\u0651\u064b", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd",
    "a\u200bb\u200cc\u200dd\ufeffe\u00adf", "\u0001a\u0002\u007fb\u0085c", "a\ufffdb", "\ue000a\uf8ff", "\U0001d15e\U0001d165\U0001d16d\U0001d16e", "\u302ea\u302f\u0301\u302e", "\uff21\uff22\uff43\uff11",
    "$5+3=8^2`~|<>", "\u20ac\u00a3\u00a5\u2030\u00a7\u00b6", "\u00bfqu\u00e9?\u00a1s\u00ed!", "\u201cquoted\u201d \u2018x\u2019 \u2013\u2014\u2026", "http://a.b/c?d=e&f#g", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "int main(void) { return 0; }", "\\u0041 \\x00 %s%n", "a_b-c.d,e;f", "Na\u00efve fa\u00e7ade \u2014 42 \u20ac!", "\u0344\u0958\u09dc\u0a33\u0b5c\u0f43\u0f73\u0f75", "\u1ea5\u1eb1\u1ec3\u1ed7\u1ee3",
]


def hostile():
    choose = random.Random(20260101)
    groups = settled()
    categories = sorted(groups)
    words = "the quick brown fox Jumps OVER lazy dogs embeddings unaffable antidisestablishmentarianism zzzyx 12345 x86".split()
    texts = list(FIXED)
    for category in categories:
        for _ in range(6):
            texts.append("".join(choose.choice(groups[category]) for _ in range(6)))
            texts.append("ab%scd%s %se" % tuple(choose.choice(groups[category]) for _ in range(3)))
    while len(texts) < COUNT:
        parts = []
        for _ in range(choose.randint(1, 8)):
            kind = choose.random()
            if kind < 0.4:
                parts.append(choose.choice(words))
            elif kind < 0.6:
                parts.append("".join(choose.choice("aeiouAEIOUcnsz") + "".join(choose.choice(groups["Mn"]) for _ in range(choose.randint(0, 3))) for _ in range(3)))
            else:
                parts.append(choose.choice(groups[choose.choice(categories)]))
            parts.append(choose.choice(["", " ", "", "\u3000", "\n"]))
        texts.append("".join(parts))
    return [text for text in texts if "\0" not in text]


def main(path):
    texts = hostile()
    for flag in "uc":
        made = tokenizer(path, flag == "u")
        for text in texts if flag == "u" else texts[::4]:
            print(flag, text.encode().hex() or "-", *made.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    main(sys.argv[1])
