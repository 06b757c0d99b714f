"""What Fun-Audio-Chat's prompts are made of: names of tokens, texts, templates; reads no file."""

from __future__ import annotations

# Tokens whose names the prompts use; every one must be in the tokenizer.
TURN_BEGIN = "<|im_start|>"
TURN_END = "<|im_end|>"
AUDIO_BEGIN = "<|audio_bos|>"  # in a reply: speech begins
AUDIO_PLACEHOLDER = "<|AUDIO|>"
AUDIO_END = "<|audio_eos|>"
SILENCE = "<|sil|>"  # in a reply's text: there is no more, but speech goes on
REQUIRED = (TURN_BEGIN, TURN_END, AUDIO_BEGIN, AUDIO_PLACEHOLDER, AUDIO_END, SILENCE)
CALL_BEGIN, CALL_END = "<tool_call>", "</tool_call>"

SPOKEN = "You are asked to generate both text and speech tokens at the same time."
WRITTEN = "You are asked to generate text tokens."
TOOLS = f"""\
{WRITTEN}
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{schemas}}
</tools>

For each function call, return a json object with function name and arguments within \
{CALL_BEGIN}{CALL_END} XML tags:
{CALL_BEGIN}
{{"name": <function-name>, "arguments": <args-json-object>}}
{CALL_END}"""

NOTICE = (
    "The weights published as Fun-Audio-Chat-8B are under Apache-2.0; keep their notice when you "
    "pass this bundle on. See the terms of the decoder's weights, Fun-CosyVoice3, which are "
    "published apart."
)


def turn(role: str, content: str) -> str:
    """One closed turn; the roles are system, user and assistant."""
    return f"{TURN_BEGIN}{role}\n{content}{TURN_END}\n"


def heard(placeholder: str) -> str:
    """What stands for a recording."""
    return f"{AUDIO_BEGIN}{placeholder}{AUDIO_END}"


REPLY = f"{TURN_BEGIN}assistant\n"  # an open turn
# What stays of a reply that is over: its text, without tokens that only speech has.
HISTORY = f"{{reply}}{TURN_END}\n"


def turn_templates() -> dict[str, str]:
    """Prompts of a conversation's first turn and of the next ones, spoken and typed.

    A next turn follows the history's form of the reply before it.
    """
    system = turn("system", "{system}")
    spoken, typed = (turn("user", content) + REPLY for content in (heard("{user}"), "{user}"))
    return {
        "first": system + spoken,
        "next": spoken,
        "first_text": system + typed,
        "next_text": typed,
    }


def tool_templates() -> dict[str, str]:
    """How tools are told and called: {schemas} is a JSON object a line, {call} one with name and
    arguments. How results are told is not published; this is how Qwen3 does it."""
    return {
        "written": WRITTEN,
        "tools": TOOLS,
        "call": f"{CALL_BEGIN}\n{{call}}\n{CALL_END}",
        "output": turn("user", "<tool_response>\n{content}\n</tool_response>") + REPLY,
    }
