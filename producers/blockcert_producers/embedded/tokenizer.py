"""The tokenizer of the embedded models, built (not trained) from the generator's own words."""

# The tokenizers package has partial stubs only, which strict checking reports at every call.
# pyright: basic

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from blockcert_producers.embedded.text import WORDS

END = "<|endoftext|>"
_PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]|\s"


def build() -> Tokenizer:
    """A lossless tokenizer: every word of the generator is one token, everything else goes byte by byte.

    The vocabulary is ``<|endoftext|>`` (id 0, special, never in the text), the 256 bytes and then the words.
    There are no merges: a piece (letters with the space before them, or one other character) that is a word
    is taken whole, and any other piece is spelled in bytes, so that arbitrary text decodes to itself.
    """
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {END: 0}
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[byte] = len(vocabulary)
    for word in WORDS:
        vocabulary[pieces.pre_tokenize_str(word)[0][0]] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pieces,
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer
