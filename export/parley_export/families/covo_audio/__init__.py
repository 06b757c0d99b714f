"""Covo-Audio: one language model hears speech and answers in text and audio codes.

A checkpoint has config.json, tokenizer files, *.safetensors and token2wav/ with the decoder and the
default voice. The published one comes without the decoder's config.json and the voice; they lie in
its code repository under token2wav/, so point to them:

  parley export ./checkpoint --out ./bundle \\
      --decoder-config code/token2wav/config.json --voice code/token2wav/prompt
"""
