"""One small set of phones for all synthesizers' names; knows no sound.

The labels are a training aid of the encoder, thrown away afterwards, so near sounds of different
accents share a class. SILENCE is 0; names that the tables don't know become OTHER.
"""

_CLASSES = """
sil aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v
w y z zh other
"""
PHONES = tuple(_CLASSES.split())
SILENCE, OTHER = 0, len(PHONES) - 1

_FROM_ESPEAK = """
_: sil  _ sil  b b  d d  f f  g g  h hh  j y  k k  l l  m m  n n  N ng  p p  r r  s s  S sh  t t
t# t  t2 t  t[ t  T th  D dh  v v  w w  w# w  z z  Z zh  tS ch  dZ jh  ; y
eI ey  aI ay  aI@ ay  aI3 ay  aI2 ay  aU aw  OI oy  oU ow  a ae  aa ae  a# ax  A: aa  A@ aa  0 aa
O: ao  O@ ao  o@ ao  O2 ao  O ao  E eh  e@ eh  3 er  3: er  VR er  IR er  V ah  @ ax  @2 ax  @- ax
@L l  I ih  I2 ih  I# ih  i iy  i: iy  i@ iy  i@3 iy  U uh  U@ uh  u: uw  u uw  ? t  * d  n- n  m- m
"""
_FROM_KOKORO = """
I ay  W aw  A ey  Y oy  O ow  Q ow  ʧ ch  ʤ jh  b b  d d  f f  ɡ g  h hh  j y  k k  l l  m m  n n
ŋ ng  p p  ɹ r  s s  ʃ sh  t t  T d  θ th  ð dh  v v  w w  z z  ʒ zh  æ ae  a ae  ɑ aa  ɒ aa  ɔ ao
ə ax  ɐ ax  ᵊ ax  ɜ er  ɛ eh  ʌ ah  ɪ ih  ᵻ ih  i iy  ʊ uh  u uw
"""
_ESPEAK, _KOKORO = _FROM_ESPEAK.split(), _FROM_KOKORO.split()
_TABLES = {
    "kokoro": dict(zip(_KOKORO[::2], _KOKORO[1::2], strict=True)),
    "espeak": dict(zip(_ESPEAK[::2], _ESPEAK[1::2], strict=True)),
    "flite": {**{name: name for name in PHONES}, "pau": "sil", "ssil": "sil"},
}


def phone_id(synthesizer: str, name: str) -> int:
    """The class of a synthesizer's ("espeak", "flite", "kokoro") phone name."""
    return PHONES.index(_TABLES[synthesizer].get(name, "other"))
