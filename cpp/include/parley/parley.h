// parley's C face: C99 and C++, one header, opaque handles. The C++ face is parley.hpp.
//
//   parley_bundle* bundle = NULL;
//   parley_session* session = NULL;
//   if (parley_bundle_open(folder, NULL, &bundle) || parley_session_new(bundle, NULL, &session))
//     return fprintf(stderr, "%s\n", parley_last_error()), 1;
//   while (read_microphone(in)) {                       // mono, -1..1, facts.in_samples of them
//     parley_step step = {.size = sizeof step};
//     if (parley_session_step(session, in, n_in, out, n_out, &step)) break;
//     write_loudspeaker(out);                           // the same time in sound
//     for (size_t i = 0; i < step.n_events; ++i) ...    // parley_session_event(session, i, &event)
//   }
//
// Errors. What can fail returns a parley_code, and parley_last_error() is this thread's text of it:
// what was expected, what came, what to do. What failed changed nothing. No exception crosses.
//
// Ownership. A handle belongs to who made it and ends by its _free, which takes NULL. A session
// keeps its bundle alive and a live conversation its session, so that they may be freed in any
// order. Text that is given in is UTF-8, paths too, and is copied. What is given out is never
// freed by the caller; where nothing else is said it lives as long as its handle.
//
// Threads. A bundle: any thread. A session: one thread at a time, a second one gets PARLEY_BUSY;
// _interrupt, _cancel and _close: any thread at any time. A live conversation: see there. _free:
// when no other thread is or comes inside. parley_session_step, _next and a live conversation's
// audio functions allocate nothing of their own once a session runs; the two libraries behind may.
//
// Growth. `size` of a struct is its sizeof where the caller was compiled. Fields are only added, at
// the end: those that a caller does not know keep their defaults, those that the library does not
// know must be 0. Zeroes are the defaults of all options. One PARLEY_ABI stands for one set of
// functions, of which later versions have all.
#ifndef PARLEY_PARLEY_H
#define PARLEY_PARLEY_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define PARLEY_API
#elif defined(__GNUC__)
#define PARLEY_API __attribute__((visibility("default")))
#else
#define PARLEY_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define PARLEY_ABI 1u

typedef struct parley_bundle parley_bundle;
typedef struct parley_session parley_session;
typedef struct parley_live parley_live;

// Numbers that the structs hold as int32_t or uint32_t, so that each has one size everywhere.
typedef enum parley_code {
  PARLEY_OK = 0,
  PARLEY_BAD_INPUT = 1,   // arguments, samples or a saved session that cannot be used
  PARLEY_BAD_BUNDLE = 2,  // a bundle is damaged, incomplete or of an unknown kind
  PARLEY_NO_LIBRARY = 3,  // a library or a device is missing, or does not fit
  PARLEY_FULL = 4,        // it does not fit into the model's context
  PARLEY_CANCELLED = 5,   // by parley_session_cancel() or by a progress function
  PARLEY_NO_MEMORY = 6,   // or no more threads
  PARLEY_BUSY = 7,        // another thread is inside the session
  PARLEY_CLOSED = 8,      // the session is closed, or the live conversation has ended
  PARLEY_FAILED = 9       // a file that cannot be written, a fault in a library, all else
} parley_code;

// How a session converses; a bundle has one or more.
enum { PARLEY_DEFAULT_MODE = 0, PARLEY_TURNS = 1, PARLEY_DUPLEX = 2 };

enum parley_floor {
  PARLEY_LISTENING = 0,
  PARLEY_PREPARING = 1,
  PARLEY_SPEAKING = 2,
  PARLEY_OVER = 3
};

enum parley_event_kind {
  PARLEY_TURN_ENDED = 0,
  PARLEY_REPLY_STARTED = 1,
  PARLEY_TEXT = 2,
  PARLEY_AUDIO = 3,
  PARLEY_REPLY_ENDED = 4,
  PARLEY_THINK = 5,
  PARLEY_SHIFT = 6,
  PARLEY_BREAK = 7,
  PARLEY_WINDOW = 8,
  PARLEY_UNDERRUN = 9,
  PARLEY_MUTED = 10,
  PARLEY_CALL = 11  // of a tool: text is its name, a line break, its arguments
};

// Why a reply ended.
enum parley_reason {
  PARLEY_NOT_ENDED = 0,
  PARLEY_BY_MODEL = 1,
  PARLEY_BY_BREAK = 2,
  PARLEY_BY_INTERRUPTION = 3,
  PARLEY_BY_MAX_TOKENS = 4,
  PARLEY_BY_CONTEXT = 5
};

enum { PARLEY_STAGES = 5 };  // front end, encoder, backbone, flow, vocoder: in this order

// ---- the library

// The PARLEY_ABI that the library was made with: compare it with yours before anything else.
PARLEY_API uint32_t parley_abi(void);
PARLEY_API const char* parley_version(void);  // such as "0.1.0"
// Of this thread's last call that failed; "" where none did. Until the thread's next call.
PARLEY_API const char* parley_last_error(void);
PARLEY_API const char* parley_code_name(int32_t code);  // such as "bad_input"

// What ONNX Runtime and llama.cpp have to say: silent without a listener, which NULL ends. Levels
// 0 to 3: debug, info, warning, error. Called on the thread that it comes from, from several at
// once; must not call parley. Returns when calls of the last listener are over.
typedef void (*parley_log)(void* user, int32_t level, const char* library, const char* text);
PARLEY_API int32_t parley_set_log(parley_log listener, void* user);

// ---- a bundle

// Between the parts of a voice's set-up, which the first session of a voice does and which takes
// minutes on large models; what is not 0 gives up: PARLEY_CANCELLED.
typedef int32_t (*parley_progress)(void* user, size_t done, size_t all);

typedef struct parley_open_options {
  uint32_t size;
  int32_t threads;          // 0: one per core
  const char* onnxruntime;  // paths; NULL: $PARLEY_ONNXRUNTIME and $PARLEY_LLAMA, then the folder
  // parley beside libparley, then the loader
  const char* llama;
  const char* device;   // NULL: "cpu"; "cuda", "tensorrt"
  const char* kv;       // of the backbone's keys and values; NULL: "f16"; "q8_0", "f32"
  const char* flow;     // JSON: settings in place of the manifest's, or NULL
  int32_t skip_hashes;  // not 0: sizes are checked, contents not
} parley_open_options;

// `options` may be NULL. Reads the folder; its licence notice is to be shown to the user.
PARLEY_API int32_t parley_bundle_open(const char* folder, const parley_open_options* options,
                                      parley_bundle** bundle);
PARLEY_API void parley_bundle_free(parley_bundle* bundle);

// What a sound device is opened with. A chunk in lasts as long as a chunk out; sound is mono.
typedef struct parley_bundle_facts {
  uint32_t size;
  uint32_t modes;  // bit 1 << PARLEY_TURNS, 1 << PARLEY_DUPLEX
  int32_t in_hz;
  int32_t out_hz;
  size_t in_samples;  // of one step
  size_t out_samples;
  size_t n_voices;
} parley_bundle_facts;
PARLEY_API int32_t parley_bundle_get_facts(const parley_bundle* bundle, parley_bundle_facts* facts);
PARLEY_API const char* parley_bundle_voice(const parley_bundle* bundle, size_t index);  // or NULL
PARLEY_API const char* parley_bundle_notice(const parley_bundle* bundle);

// ---- a session

// Which of the options that have no natural zero are given.
enum {
  PARLEY_GIVES_TEMPERATURE = 1,
  PARLEY_GIVES_TOP_K = 2,
  PARLEY_GIVES_TOP_P = 4,
  PARLEY_GIVES_MAX_NEW_TOKENS = 8
};

typedef struct parley_session_options {
  uint32_t size;
  int32_t mode;        // PARLEY_DEFAULT_MODE: duplex where the bundle has it
  const char* voice;   // NULL: the bundle's
  const char* system;  // the system prompt; NULL: the bundle's
  uint64_t seed;
  uint32_t gives;  // PARLEY_GIVES_...; the bundle's values for the others
  float temperature;
  int32_t top_k;
  float top_p;
  int32_t max_new_tokens;
  int32_t prefill_budget;  // positions of a turn's prompt per step; 0: all at once
  int32_t overlap;         // not 0: sound is made on a second thread, one chunk later
  parley_progress progress;
  void* progress_user;
} parley_session_options;

// What one step gave. Times are nanoseconds.
typedef struct parley_step {
  uint32_t size;
  int32_t made;     // 0: parley_session_next() waits for more samples; there is nothing else here
  int32_t floor;    // enum parley_floor
  int32_t slowest;  // the stage that bounds the step's time
  int64_t index;
  size_t n_events;
  int64_t total_ns;
  int64_t stage_ns[PARLEY_STAGES];
  int64_t beside_ns;  // of the stages that make sound, while other stages worked
} parley_step;

typedef struct parley_event {
  uint32_t size;
  int32_t kind;      // enum parley_event_kind
  int32_t reason;    // enum parley_reason: PARLEY_REPLY_ENDED
  int32_t token;     // the id drawn, or -1
  int64_t sample;    // place on the output timeline
  int64_t count;     // window: positions; underrun, muted: samples; reply_ended: heard until there
  const char* text;  // whole characters of UTF-8, ended by a 0 that text_bytes does not count
  size_t text_bytes;
  const int32_t* codes;  // audio: numbers in the codebook
  size_t n_codes;
} parley_event;

// `options` may be NULL.
PARLEY_API int32_t parley_session_new(const parley_bundle* bundle,
                                      const parley_session_options* options,
                                      parley_session** session);
// Waits for a call that is inside, which is cancelled.
PARLEY_API void parley_session_free(parley_session* session);

// One chunk in, one chunk out. The events, by parley_session_event(), until the session is called
// again.
PARLEY_API int32_t parley_session_step(parley_session* session, const float* in, size_t n_in,
                                       float* out, size_t n_out, parley_step* step);
// The same from blocks of any size at any rate (0: in_hz): _feed takes them, _next makes a step of
// each chunk that they fill, until `made` is 0. _flush: the stream ends, silence fills its chunk.
PARLEY_API int32_t parley_session_feed(parley_session* session, const float* in, size_t n_in,
                                       int32_t hz);
PARLEY_API int32_t parley_session_next(parley_session* session, float* out, size_t n_out,
                                       parley_step* step);
PARLEY_API int32_t parley_session_flush(parley_session* session);
// Event `index` of the last step.
PARLEY_API int32_t parley_session_event(const parley_session* session, size_t index,
                                        parley_event* event);

// Turns: the user's turn is over; what the user says, as text.
PARLEY_API int32_t parley_session_end_turn(parley_session* session);
PARLEY_API int32_t parley_session_send_text(parley_session* session, const char* text);
// Stops the reply under way. `heard_until`: the sample of the output timeline that the loudspeaker
// has reached; negative: all was heard that the steps wrote.
PARLEY_API int32_t parley_session_interrupt(parley_session* session, int64_t heard_until);
// The step under way, or else the next one, ends with PARLEY_CANCELLED and changes nothing.
PARLEY_API int32_t parley_session_cancel(parley_session* session);
// A second conversation that goes on from here.
PARLEY_API int32_t parley_session_fork(parley_session* session, parley_session** fork);
// To a file, whole or not at all; and on from there, with the options that it had.
PARLEY_API int32_t parley_session_save(parley_session* session, const char* path);
PARLEY_API int32_t parley_session_resume(const parley_bundle* bundle, const char* path,
                                         parley_session** session);
PARLEY_API int32_t parley_session_reset(parley_session* session);
PARLEY_API int32_t parley_session_close(parley_session* session);

typedef struct parley_session_state {
  uint32_t size;
  int32_t mode;
  int32_t floor;
  uint32_t reserved;
  int64_t position;          // backbone positions held
  size_t waiting;            // samples that parley_session_next() has not taken
  size_t in_delay_samples;   // constant: of the front end
  size_t out_delay_samples;  // constant: from a drawn code to its sound
} parley_session_state;
PARLEY_API int32_t parley_session_get_state(const parley_session* session,
                                            parley_session_state* state);

// ---- a live conversation: an audio callback gives and takes sound, a thread of its own steps

enum { PARLEY_F32 = 0, PARLEY_S16 = 1 };

typedef struct parley_live_options {
  uint32_t size;
  int32_t capture_hz;  // of the devices, each its own; 0: 48000
  int32_t render_hz;
  int32_t capture_channels;  // interleaved, the first one is heard; 0: 1
  int32_t render_channels;
  int32_t format;     // PARLEY_F32 or PARLEY_S16, of both
  int32_t keep_echo;  // not 0: with headphones, or where the device cancels echo itself
  uint32_t reserved;
  double lead_s;            // sound that waits beside a chunk; 0: 0.06
  double queue_s;           // bound of each queue; 0: 2
  double render_latency_s;  // from the callback to the loudspeaker; 0: 0.03
} parley_live_options;

enum parley_live_kind {
  PARLEY_LIVE_SESSION = 0,  // an event of the session: `event`
  PARLEY_LIVE_STEP = 1,
  PARLEY_LIVE_LATE = 2,
  PARLEY_LIVE_MISSING = 3,
  PARLEY_LIVE_DROPPED = 4,
  PARLEY_LIVE_SKIPPED = 5,
  PARLEY_LIVE_SILENT_MICROPHONE = 6,
  PARLEY_LIVE_ECHO_FOUND = 7,
  PARLEY_LIVE_DEVICE_LOST = 8,
  PARLEY_LIVE_DEVICE_FOUND = 9,
  PARLEY_LIVE_FAILED = 10
};

typedef struct parley_live_event {
  uint32_t size;
  int32_t kind;  // enum parley_live_kind; -1: none came in that time
  int32_t floor;
  int32_t stage;   // late: what took most of it
  int64_t sample;  // place on the session's output timeline
  int64_t count;   // missing, dropped, skipped: samples
  double lag_s;    // step: from the microphone's last sample to the loudspeaker's first
  int64_t total_ns;
  const char* text;  // session: what was said; device_lost, device_found, failed: which, why
  parley_event event;
} parley_live_event;

typedef struct parley_live_statistics {
  uint32_t size;
  int32_t running;
  int64_t steps, late, missing, dropped, skipped, events_lost;
  int64_t heard_sample;  // the loudspeaker has reached it, on the session's timeline
  double capture_level, render_level, capture_queue_s, render_queue_s, clock_drift_ppm;
  double erle_db;  // echo return loss enhancement
  double echo_delay_s;
  int32_t echo_found;
  uint32_t reserved;
} parley_live_statistics;

// Takes the session over: only _cancel and _free of it are left to the caller. `options` may be
// NULL.
PARLEY_API int32_t parley_live_new(const parley_bundle* bundle, parley_session* session,
                                   const parley_live_options* options, parley_live** live);
PARLEY_API void parley_live_free(parley_live* live);  // behind the last audio callback
PARLEY_API int32_t parley_live_start(parley_live* live);
PARLEY_API int32_t parley_live_stop(parley_live* live);
// The audio callbacks, one thread each: no lock, no allocation, no system call; `n` frames of any
// number. They never fail: what does not fit is counted, silence stands in for what is not there.
PARLEY_API void parley_live_capture(parley_live* live, const void* frames, size_t n);
PARLEY_API void parley_live_render(parley_live* live, void* frames, size_t n);
// In place of _start, for a loop of one's own: what there is to do now; `stepped` may be NULL.
PARLEY_API int32_t parley_live_turn(parley_live* live, int32_t* stepped);
// The next event, waiting at most so long; PARLEY_CLOSED when all is over. One thread; text and
// codes until its next call.
PARLEY_API int32_t parley_live_wait(parley_live* live, double seconds, parley_live_event* event);
PARLEY_API int32_t parley_live_interrupt(parley_live* live);  // any thread: silence now
PARLEY_API int32_t parley_live_mute(parley_live* live, int32_t on);
PARLEY_API int32_t parley_live_get_statistics(const parley_live* live,
                                              parley_live_statistics* statistics);

#ifdef __cplusplus
}
#endif
#endif
