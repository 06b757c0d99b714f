// Sessions of the C face.
#include "handles.h"

using parley::c::give;
using parley::c::given;
using parley::c::guarded;

namespace parley::c {

parley_event event_of(const Event& event, const char* text) {
  parley_event to{};
  to.kind = static_cast<std::int32_t>(event.kind);
  to.reason = static_cast<std::int32_t>(event.reason);
  to.token = event.token;
  to.sample = event.sample;
  to.count = event.count;
  to.text = text;
  to.text_bytes = event.text.size();
  to.codes = event.codes.data();
  to.n_codes = event.codes.size();
  return to;
}

}  // namespace parley::c

namespace {

// What a session's calls need in common; a const handle is one whose calls change nothing.
parley::Session& session_of(const char* verb, const parley_session* handle) {
  const auto& session = given(verb, "a session", handle).session;
  if (!session) {
    throw parley::ClosedError("[" + std::string(verb) +
                              "] expected a session of one's own, got one that a live conversation"
                              " took over; use that one's calls");
  }
  return const_cast<parley::Session&>(*session);
}

parley::SessionOptions session_options_of(const parley_session_options* from) {
  const auto options = parley::c::options_of("session.new", from);
  parley::SessionOptions to;
  switch (options.mode) {
    case PARLEY_DEFAULT_MODE:
      break;
    case PARLEY_TURNS:
      to.mode = parley::Mode::turns;
      break;
    case PARLEY_DUPLEX:
      to.mode = parley::Mode::duplex;
      break;
    default:
      parley::c::refuse("session.new", "expected a mode of 0 to 2, got " +
                                           std::to_string(options.mode) + "; take one of them");
  }
  to.voice = parley::c::text_of(options.voice);
  if (options.system != nullptr) to.system = options.system;
  to.seed = options.seed;
  if (options.gives & PARLEY_GIVES_TEMPERATURE) to.temperature = options.temperature;
  if (options.gives & PARLEY_GIVES_TOP_K) to.top_k = options.top_k;
  if (options.gives & PARLEY_GIVES_TOP_P) to.top_p = options.top_p;
  if (options.gives & PARLEY_GIVES_MAX_NEW_TOKENS) to.max_new_tokens = options.max_new_tokens;
  to.prefill_budget = options.prefill_budget;
  to.overlap = options.overlap != 0;
  if (options.progress != nullptr) {
    to.voice_progress = [tell = options.progress, user = options.progress_user](auto done,
                                                                                auto all) {
      if (tell(user, done, all) != 0)
        throw parley::CancelledError(
            "[session.new] expected to go on, got a progress function that gave up; try again");
    };
  }
  return to;
}

void keep_events(parley_session& handle, const parley::Step& step) {
  handle.events.assign(step.events.begin(), step.events.end());
  handle.texts.clear();
  handle.text.clear();
  for (const parley::Event& event : step.events) {
    handle.texts.push_back(handle.text.size());
    handle.text.append(event.text).push_back('\0');
  }
}

parley_step step_of(const parley::Step& step) {
  parley_step to{};
  to.made = 1;
  to.floor = static_cast<std::int32_t>(step.floor);
  to.slowest = static_cast<std::int32_t>(step.timing.bottleneck());
  to.index = step.index;
  to.n_events = step.events.size();
  to.total_ns = step.timing.total_ns;
  std::ranges::copy(step.timing.stage_ns, to.stage_ns);
  to.beside_ns = step.timing.beside_ns;
  return to;
}

// Where `step` is NULL the caller does not want to know.
void keep_step(parley_session& handle, const std::optional<parley::Step>& made, parley_step* step) {
  keep_events(handle, made.value_or(parley::Step{}));
  if (step != nullptr) give("session.step", made ? step_of(*made) : parley_step{}, step);
}

template <typename T>
std::span<T> span_of(const char* verb, const char* name, T* samples, std::size_t n) {
  return n == 0 ? std::span<T>() : std::span<T>(&given(verb, name, samples), n);
}

template <typename Make>
std::int32_t make_session(const char* verb, parley_session** session, const Make& make) {
  return guarded([&] {
    auto& to = given(verb, "a place for the session", session);
    to = nullptr;
    to = new parley_session{make()};
  });
}

template <typename Work>
std::int32_t with_session(const char* verb, parley_session* session, const Work& work) {
  return guarded([&] { work(session_of(verb, session)); });
}

}  // namespace

static_assert(PARLEY_STAGES == parley::kStages);
static_assert(PARLEY_MUTED == static_cast<int>(parley::EventKind::muted));
static_assert(PARLEY_CALL == static_cast<int>(parley::EventKind::call));
static_assert(PARLEY_BY_CONTEXT == static_cast<int>(parley::EndReason::context));
static_assert(PARLEY_OVER == static_cast<int>(parley::Floor::closed));

extern "C" {

int32_t parley_session_new(const parley_bundle* bundle, const parley_session_options* options,
                           parley_session** session) {
  return make_session("session.new", session, [&] {
    return given("session.new", "a bundle", bundle).bundle.session(session_options_of(options));
  });
}

void parley_session_free(parley_session* session) {
  delete session;
}

int32_t parley_session_step(parley_session* session, const float* in, size_t n_in, float* out,
                            size_t n_out, parley_step* step) {
  return with_session("session.step", session, [&](parley::Session& own) {
    keep_step(*session,
              own.step(span_of("session.step", "samples", in, n_in),
                       span_of("session.step", "room for samples", out, n_out)),
              step);
  });
}

int32_t parley_session_feed(parley_session* session, const float* in, size_t n_in, int32_t hz) {
  return with_session("session.feed", session, [&](parley::Session& own) {
    own.feed(span_of("session.feed", "samples", in, n_in), hz);
  });
}

int32_t parley_session_next(parley_session* session, float* out, size_t n_out, parley_step* step) {
  return with_session("session.next", session, [&](parley::Session& own) {
    given("session.next", "a step, to say whether there was one", step);
    keep_step(*session, own.next(span_of("session.next", "room for samples", out, n_out)), step);
  });
}

int32_t parley_session_flush(parley_session* session) {
  return with_session("session.flush", session, [](parley::Session& own) { own.flush(); });
}

int32_t parley_session_event(const parley_session* session, size_t index, parley_event* event) {
  return guarded([&] {
    const parley_session& from = given("session.event", "a session", session);
    if (index >= from.events.size()) {
      parley::c::refuse("session.event", "expected one of the last step's " +
                                             std::to_string(from.events.size()) + " events, got " +
                                             std::to_string(index) + "; count from 0");
    }
    const char* text = from.text.c_str() + from.texts[index];
    give("session.event", parley::c::event_of(from.events[index], text), event);
  });
}

int32_t parley_session_end_turn(parley_session* session) {
  return with_session("session.end_turn", session, [](parley::Session& own) { own.end_turn(); });
}

int32_t parley_session_send_text(parley_session* session, const char* text) {
  return with_session("session.send_text", session, [&](parley::Session& own) {
    own.send_text(&given("session.send_text", "a text", text));
  });
}

int32_t parley_session_interrupt(parley_session* session, int64_t heard_until) {
  return with_session("session.interrupt", session, [&](parley::Session& own) {
    if (heard_until < 0)
      own.interrupt();
    else
      own.interrupt(heard_until);
  });
}

int32_t parley_session_cancel(parley_session* session) {
  return with_session("session.cancel", session, [](parley::Session& own) { own.cancel(); });
}

int32_t parley_session_fork(parley_session* session, parley_session** fork) {
  return make_session("session.fork", fork,
                      [&] { return session_of("session.fork", session).fork(); });
}

int32_t parley_session_save(parley_session* session, const char* path) {
  return with_session("session.save", session, [&](parley::Session& own) {
    own.save(&given("session.save", "a path", path));
  });
}

int32_t parley_session_resume(const parley_bundle* bundle, const char* path,
                              parley_session** session) {
  return make_session("session.resume", session, [&] {
    const std::string from = &given("session.resume", "a path", path);
    return given("session.resume", "a bundle", bundle).bundle.resume(from);
  });
}

int32_t parley_session_reset(parley_session* session) {
  return with_session("session.reset", session, [](parley::Session& own) { own.reset(); });
}

int32_t parley_session_close(parley_session* session) {
  return with_session("session.close", session, [](parley::Session& own) { own.close(); });
}

int32_t parley_session_get_state(const parley_session* session, parley_session_state* state) {
  return guarded([&] {
    const parley::Session& from = session_of("session.state", session);
    parley_session_state to{};
    to.mode = from.mode() == parley::Mode::turns ? PARLEY_TURNS : PARLEY_DUPLEX;
    to.floor = static_cast<std::int32_t>(from.floor());
    to.position = from.position();
    to.waiting = from.waiting();
    to.in_delay_samples = from.input_delay_samples();
    to.out_delay_samples = from.delay_samples();
    give("session.state", to, state);
  });
}

}  // extern "C"
