"""nano's ids: bytes, one token per reply word, control tokens, audio codes; knows no dialogue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

N_BYTES = 256
AUDIO_CODES = 512
CODES_PER_CHUNK = 4
END_OF_TEXT, THINK, SHIFT, BREAK = "<|endoftext|>", "<|THINK|>", "<|SHIFT|>", "<|BREAK|>"
PLACEHOLDER = "<|cAUDIO|>"
# Those that the family's prompts name, then those of full duplex.
SPECIALS = (
    END_OF_TEXT,
    "<|im_start|>",
    "<|im_end|>",
    "<|begofcAUDIO|>",
    PLACEHOLDER,
    "<|endofcAUDIO|>",
    THINK,
    SHIFT,
    BREAK,
)


@dataclass(frozen=True)
class Vocabulary:
    """Ids of one set of reply words (ASCII, without leading space)."""

    words: tuple[str, ...]

    @property
    def text_end(self) -> int:
        """Ids below are bytes, words and specials; the audio codes follow."""
        return N_BYTES + len(self.words) + len(SPECIALS)

    @property
    def audio_begin(self) -> int:
        return self.text_end

    @property
    def size(self) -> int:
        return self.text_end + AUDIO_CODES

    @cached_property
    def special(self) -> dict[str, int]:
        """Name -> id of the control tokens."""
        first = N_BYTES + len(self.words)
        return {name: first + i for i, name in enumerate(SPECIALS)}

    def word_id(self, index: int) -> int:
        """Id of a reply word by its place in `words`."""
        return N_BYTES + index

    def text(self, ids: list[int]) -> str:
        """The words among `ids`, joined by spaces."""
        first, end = N_BYTES, N_BYTES + len(self.words)
        return " ".join(self.words[i - first] for i in ids if first <= i < end)


def write_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Write tokenizer.json: byte-level BPE without merges, whose words stand for whole outputs.

    Text that comes in is read as bytes, so a word token arises only where the model draws it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    texts = alphabet + ["Ġ" + word for word in vocabulary.words]
    tokenizer = Tokenizer(models.BPE(vocab={text: i for i, text in enumerate(texts)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for name in SPECIALS:
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": END_OF_TEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
