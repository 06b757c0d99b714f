"""Fun-Audio-Chat (model_type funaudiochat): config.json, preprocessor_config.json, a tokenizer and
safetensors. Its decoder is published apart: Fun-CosyVoice3-0.5B-2512 with cosyvoice3.yaml, flow.pt
and hift.pt, in or beside the folder or where --token2wav says; its voices are new_spk2info.pt, in
utils/ in or beside the folder, or where --voice says (or a folder with a speaker_embed.npy).
"""
