"""Step-Audio 2 (model_type step_audio_2): config.json, a tokenizer and safetensors, and in
token2wav/ flow.yaml, flow.pt and hift.pt. A voice is prompt_token.npy, prompt_mel.npy and
speaker_embed.npy, in token2wav/voice/ or where --voice says.
"""
