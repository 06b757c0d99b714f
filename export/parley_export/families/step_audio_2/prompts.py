"""What Step-Audio 2's prompts are made of: names of tokens, texts, templates; reads no file."""

from __future__ import annotations

# Tokens whose names the prompts use; every one must be in the tokenizer.
TURN_BEGIN = "<|BOT|>"
TURN_END = "<|EOT|>"
AUDIO_BEGIN = "<audio_start>"
AUDIO_PLACEHOLDER = "<audio_patch>"
AUDIO_END = "<audio_end>"
SPEECH_BEGIN = "<tts_start>"
SPEECH_END = "<tts_end>"
TEXT_PAD = "<tts_pad>"
CALL_BEGIN = "<tool_call>"
CALL_END = "</tool_call>"
REQUIRED = (
    TURN_BEGIN,
    TURN_END,
    AUDIO_BEGIN,
    AUDIO_PLACEHOLDER,
    AUDIO_END,
    SPEECH_BEGIN,
    SPEECH_END,
    TEXT_PAD,
)

PERSONA = "You are a helpful assistant."

NOTICE = (
    "The weights published as Step-Audio 2 mini are under Apache-2.0; keep their notice when you "
    "pass this bundle on."
)


def audio_token(code: int) -> str:
    """Name of an audio code in the vocabulary; the one behind the last code is the pad."""
    return f"<audio_{code}>"


def turn(role: str, content: str) -> str:
    """One closed turn; the published roles are system, human, assistant, tool_json_schemas,
    function_output and input."""
    return f"{TURN_BEGIN}{role}\n{content}{TURN_END}"


def reply(speech: bool) -> str:
    """An open turn of the assistant, which speaks or only writes."""
    return f"{TURN_BEGIN}assistant\n{SPEECH_BEGIN if speech else ''}"


def turn_templates() -> dict[str, str]:
    """Prompts of a conversation's first turn and of the next ones, spoken and typed.

    A next turn follows the end of the reply before it.
    """
    system = turn("system", "{system}") + "{tools}"
    spoken = turn("human", f"{AUDIO_BEGIN}{{user}}{AUDIO_END}") + reply(speech=True)
    typed = turn("human", "{user}") + reply(speech=True)
    return {
        "first": system + spoken,
        "next": spoken,
        "first_text": system + typed,
        "next_text": typed,
        "between": AUDIO_END + AUDIO_BEGIN,  # two pieces of a recording
    }


def tool_templates() -> dict[str, str]:
    """How tools are told, called and answered: {schemas} is a JSON list, {name} and {arguments} a
    call's, {content} a result."""
    return {
        "schemas": turn("tool_json_schemas", "{schemas}"),
        "call": f"{CALL_BEGIN}function\n{{name}}\n{{arguments}}{CALL_END}",
        "output": turn("function_output", "{name}\n{content}") + reply(speech=True),
        "input": turn("input", "{content}") + reply(speech=True),
    }
