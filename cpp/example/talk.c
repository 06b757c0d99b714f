// The same in C: talks in full duplex over pipes, 16 bit mono, through libparley alone.
#include <math.h>
#include <parley/parley.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(void) {
  fprintf(stderr, "%s\n", parley_last_error());
  return 1;
}

static void show(const parley_session* session, const parley_step* step) {
  for (size_t i = 0; i < step->n_events; ++i) {
    parley_event event = {.size = sizeof event};
    if (parley_session_event(session, i, &event)) continue;
    if (event.kind == PARLEY_REPLY_STARTED) fputs(">", stderr);
    fwrite(event.text, 1, event.text_bytes, stderr);
    if (event.kind == PARLEY_REPLY_ENDED) fputs("\n", stderr);
  }
}

static int talk(parley_session* session, const parley_bundle_facts* facts) {
  const size_t n_in = facts->in_samples, n_out = facts->out_samples;
  int16_t* pcm = malloc((n_in > n_out ? n_in : n_out) * sizeof *pcm);
  float* in = malloc(n_in * sizeof *in);
  float* out = malloc(n_out * sizeof *out);
  parley_step step = {.size = sizeof step};
  int32_t code = pcm && in && out ? PARLEY_OK : PARLEY_NO_MEMORY;
  while (code == PARLEY_OK && fread(pcm, sizeof *pcm, n_in, stdin) == n_in) {
    for (size_t i = 0; i < n_in; ++i) in[i] = (float)pcm[i] / 32768.0F;
    code = parley_session_step(session, in, n_in, out, n_out, &step);
    if (code != PARLEY_OK) break;
    show(session, &step);
    for (size_t i = 0; i < n_out; ++i)
      pcm[i] = (int16_t)lroundf(fminf(fmaxf(out[i], -1.0F), 1.0F) * 32767.0F);
    fwrite(pcm, sizeof *pcm, n_out, stdout);
    fflush(stdout);
  }
  free(pcm);
  free(in);
  free(out);
  return code == PARLEY_OK ? 0 : failed();
}

int main(int count, char** arguments) {
  parley_bundle* bundle = NULL;
  parley_session* session = NULL;
  parley_session_options options = {.size = sizeof options};
  parley_bundle_facts facts = {.size = sizeof facts};
  int result;
  if (count != 2) {
    fputs("usage: parley_talk BUNDLE < microphone.raw > loudspeaker.raw\n", stderr);
    return 2;
  }
  if (parley_abi() != PARLEY_ABI) {
    fprintf(stderr, "libparley has ABI %u, this program was made for %u\n", parley_abi(), PARLEY_ABI);
    return 1;
  }
  options.mode = PARLEY_DUPLEX;
  if (parley_bundle_open(arguments[1], NULL, &bundle) || parley_bundle_get_facts(bundle, &facts) ||
      parley_session_new(bundle, &options, &session)) {
    result = failed();
  } else {
    fprintf(stderr, "%s\nin: %d Hz, %zu samples a chunk; out: %d Hz, %zu samples\n",
            parley_bundle_notice(bundle), (int)facts.in_hz, facts.in_samples, (int)facts.out_hz,
            facts.out_samples);
    result = talk(session, &facts);
  }
  parley_session_free(session);
  parley_bundle_free(bundle);
  return result;
}
