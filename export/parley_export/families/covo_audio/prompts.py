"""What Covo-Audio's prompts are made of: names of tokens, texts, templates; reads no file."""

from __future__ import annotations

# Tokens whose names the prompts use; every one must be in the tokenizer.
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
AUDIO_BEGIN = "<|begofcAUDIO|>"
AUDIO_PLACEHOLDER = "<|cAUDIO|>"
AUDIO_END = "<|endofcAUDIO|>"
REQUIRED = (IM_START, IM_END, AUDIO_BEGIN, AUDIO_PLACEHOLDER, AUDIO_END)
DUPLEX_CONTROL = ("<|THINK|>", "<|SHIFT|>", "<|BREAK|>")

PERSONA = (
    "You are a friendly voice assistant. You hear the user and answer aloud, in the user's "
    "language, in a few short and clear sentences. If you do not know something, say so."
)
# The published weights were trained with this sentence: 5 text and 15 audio tokens in turn, spoken
# by the named speaker.
FUNCTION = (
    "请用文本和音频进行对话，交替生成5个文本token和15个音频token，"
    "音频部分使用发音人：default_female"
)


NOTICE = (
    "The weights published as Covo-Audio are for academic use only. If this bundle comes from "
    "them, that holds for it too; do not pass it on without their licence."
)


def system_prompt(persona: str | None, own: str | None = None) -> str:
    """The persona, ours by default, followed by the sentence that the weights were trained with.

    A checkpoint's own system prompt is whole, and only used where the user gives no persona.
    """
    if persona is None and own is not None:
        return own
    persona = PERSONA if persona is None else persona.strip()
    return persona if FUNCTION in persona else f"{persona}\n{FUNCTION}".lstrip()


def turn_templates() -> dict[str, str]:
    """Prompts of a conversation's first turn and of the next ones, spoken and typed."""
    system = f"{IM_START}system\n{{system}}{IM_END}\n"
    spoken = f"{AUDIO_BEGIN}{{user}}{AUDIO_END}"

    def user(content: str) -> str:
        return f"{IM_START}user\n{content}{IM_END}\n{IM_START}assistant\n"

    return {
        "first": system + user(spoken),
        "next": "\n" + user(spoken),
        "first_text": system + user("{user}"),
        "next_text": "\n" + user("{user}"),
    }
