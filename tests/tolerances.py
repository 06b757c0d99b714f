"""Every tolerance of the tests, with the reason for its size; knows no test."""

from parley_apps.golden import TOLERANCES

# Against the reference, float32 on a CPU, what `parley verify` asks. Measured errors are about a
# hundred times smaller; the room is for other processors and libraries.
WAVE16K_ABS, LOG_MEL_ABS, ENCODER_REL = (
    TOLERANCES[kind][1] for kind in ("wave16k", "log_mel", "encoder")
)
LOGITS_ABS, LATENTS_REL, WAVE_SNR_DB = (
    TOLERANCES[kind][1] for kind in ("logits", "latents", "wave24k")
)
FEEDBACK_ABS = 1e-4
# The same against the stream whose cache has 11 significant bits: 1.2e-5 measured on the tiny
# checkpoint, where values of the prompt laid out wrongly give 5e-2.
LATENTS_F16_CACHE_REL = 2e-4

# A harmonic source adds up phases frame by frame: in float32 and float64 the published code's own
# differ by 3e-4, its waves by 72 dB and more. An issue promises 50 dB.
HARMONIC_SOURCE_ABS = 1e-3
HARMONIC_WAVE_SNR_DB = 60.0
SOURCE_WAVE_SNR_DB = 50.0  # as promised, for whatever checkpoint is verified

# The chunk-streaming encoder against the chunked whole: the same sums in another order.
STREAM_REL = 1e-4
# A graph against its module, both float32: other kernels, same arithmetic.
GRAPH_REL = 2e-5
# A graph with half precision inside against float32: 11 significant bits through two or three
# layers give about 1e-3.
GRAPH_F16_REL = 5e-3
# Products of 8 significant bits in a dozen convolutions: each adds about 0.2 %.
GRAPH_BF16_REL = 2e-2
# Two ways to compute one number in one library.
SAME_REL = 1e-5
# The doubled-rate filters against their definition written as sums.
FILTER_ABS = 1e-5
# A half-band tone through the resampler; its passband ripples by less than this.
RESAMPLED_TONE_ABS = 2e-3
# Log-mel of a tone, averaged over bands and frames, that came at twice the rate: the filters differ
# in what little is left above 11 kHz.
RESAMPLED_LOG_MEL_MEAN_ABS = 5e-2
# Area of a mel triangle summed over bins that are a few per side.
MEL_AREA_REL = 1e-1

# Recordings read back: one step of the format's own grid, since writers round or cut.
PCM_8 = 1.0 / 2**7
PCM_16 = 1.0 / 2**15
PCM_24 = 1.0 / 2**23

# The engine's front end. A spectrum in double precision against its definition: rounding of as many
# products as a frame has samples; multiply by that number.
SPECTRUM_ABS = 1e-10
# Resampled samples of size one in float32 against the formula in double precision.
RESAMPLED_ABS = 1e-6
# A tone 37 % above the new half rate: a Hann window over six zero crossings leaves 46 dB less.
RESAMPLED_STOP_ABS = 5e-3
# Log-mel against tables of six decimals and against sums in double precision.
LOG_MEL_TABLE_ABS = 1e-5

# The vocoder's stream against the whole run: the same sums, so only float32 rounding differs (120
# to 137 dB measured).
STREAM_SNR_DB = 100.0
# The same with the look-ahead of three latent frames that bundles have by default: 82 dB on nano,
# 59 on random weights with white noise as latents.
SHORT_LOOKAHEAD_SNR_DB = 50.0
# The midpoint solver in float32 against the same steps written out: values of size one.
SOLVER_ABS = 1e-5

# The one-layer decoder of tests/cpp/data, logits of size ten: the same sums in another order in
# float32, then with the keys and values in 11 significant bits, then in 8 bits per value.
DECODER_ORDER_ABS = 1e-4
DECODER_KV_F16_ABS = 2e-2
DECODER_KV_Q8_ABS = 2e-1
# Rotations of positions around 2^18 are off by 0.02 at the most in 32 bits.
DECODER_FAR_ABS = 2e-2

# Samples of scripted stages are codes over a thousand: one rounding of a number below one.
SAMPLE_ABS = 1e-7

# The fused activation in float32 against its definition as matrices in double precision.
KERNEL_REL = 2e-5
# The same at phases of 2000: one rounding of such a number is 1.2e-4, twelve taps add a few.
KERNEL_PHASE_ABS = 5e-3
# Twenty-odd activations in a row, each of them as above.
SNAKE_STACK_REL = 1e-4
# Eight significant bits in the early stages' convolutions.
BFLOAT16_REL = 2e-1

# nano's dialogues without noise still have a microphone's noise at -90 dBFS.
QUIET_SAMPLE = 1e-3
# Sums of a few hundred float32 numbers around one.
ROUNDED_MEANS = 1e-4

# nano's audio codes on another processor: where the best two nearly tie, rounding decides.
GOLDEN_CODES = 0.98
# The root mean square of a chunk in which nano listens is 0; -60 dBFS is no speech.
SILENT_RMS = 1e-3

# nano's training form against the modules chunk by chunk: order of float32 sums over a few layers.
PREFIX_EQUALITY = 1e-5
# Features of a graph in float16 against float32, relative to the largest.
HALF_FEATURES = 2e-2

# Drawn blocks: deviation and mean of 51200 evenly drawn numbers, and the scale's 11 bits. Six-bit
# numbers reach from -32 to 31, so their mean lies 2.7 % of a deviation below zero.
DRAWN_DEVIATION_REL = 2e-2
DRAWN_MEAN = 5e-2
# Arithmetic of costs against a table that rounds to two or three digits, leaves out the attention
# of the backbone (2.8 % of a chunk's work) and the adapter (1.7 %).
COST_TABLE_REL = 3.5e-2
# A line through values that are all the same.
LINE_ABS = 1e-9
# nano's shipped voice against its own prompt, dB of log-mel: 2 to 4; wrong weights give 10 or more.
SHIPPED_LATENTS_DB = 6.0

# Levels in decibels out of float32 samples.
DECIBELS_ABS = 1e-2

# Echo cancellation in the made rooms of tests/cpp/test_live_echo.cpp: bounds, each with a few
# decibels of room below what was measured (ERLE 22 to 31, kept -0.3, clean 15 to 20).
ECHO_ERLE_DB = 18.0
ECHO_KEPT_DB = 0.7
ECHO_CLEAN_DB = 12.0
# The path's highest peak is found to a sample of 8 kHz or the next.
ECHO_DELAY_S = 5e-4
ECHO_DRIFT_PPM = 8.0
# Where there is no echo, two voices at once may look like one for a while.
ECHO_CHANGED_DB = -25.0
# Windows that add up to one, in float32.
ECHO_UNTOUCHED = 1e-6

# Seconds that a lossy format may be longer: its last frame is filled up, its first one is warm-up.
CODEC_S = 0.1
# Loudness of a mixture of channels of which one was left out: what is quiet there is not quite 0.
MIXED = 0.05

# A share counted in 2000 draws: four standard deviations of a half.
SHARE_OF_2000 = 0.045

# The live queues on made clocks: blocks of 10 ms move them by half that.
LIVE_QUEUE_S = 0.02
LIVE_DRIFT_PPM = 25.0
# A tone through the web page's resampler: a Kaiser window of 80 dB, its table in float32 with 128
# places a sample read by linear interpolation.
PAGE_TONE_ABS = 1e-3

# Seconds: voice activity hears blocks of 32 ms, so an edge lies within one.
VOICE_BLOCK_S = 0.033
# A sample of a recording without noise that is more than the edge of a word.
VOICE_LOUD = 0.02
# The mean square of a row that RMSNorm made: one, less what keeps its root from zero.
NORMED_SQUARE_REL = 1e-2
# Logits with keys and values of 8 significant bits against exact ones: each is 0.2 % off at most.
KV_BF16_REL = 1e-2
# Products of random numbers against float32, by the bits of their weights: steps of 1/255 and 1/15
# of a column's range, and inputs of 8 bits, over 64 terms; measured 0.8 % and 9 %.
PRODUCT_REL = {8: 3e-2, 4: 2e-1}
# A convolution whose weights were kept small: 11 and 8 significant bits, and 1/254 of the largest.
KEPT_REL = {"f16": 1e-3, "bf16": 1e-2, "i8": 1e-2}
