// The C face: codes and texts of errors, structs of other versions, ownership, conversations with
// nano. That its samples are those of the C++ face, the example's test holds.
#include <parley/parley.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <thread>

#include "runner_support.h"
#include "scratch_folder.h"

extern "C" uint32_t parley_header_abi(void);

namespace {

bool tells(std::string_view text) {
  return std::string_view(parley_last_error()).find(text) != std::string_view::npos;
}

// nano, opened; skips the test where its libraries are not here.
struct Nano {
  parley_bundle* bundle = nullptr;
  parley_bundle_facts facts{};

  Nano() {
    support::need("PARLEY_ONNXRUNTIME");
    support::need("PARLEY_LLAMA");
    const std::string folder = support::data("../../../models/nano/bundle");
    if (!std::filesystem::is_directory(folder)) throw check::Skip{"no models/nano/bundle"};
    parley_open_options options{};
    options.size = sizeof options;
    options.threads = 1;
    REQUIRE(parley_bundle_open(folder.c_str(), &options, &bundle) == PARLEY_OK);
    facts.size = sizeof facts;
    REQUIRE(parley_bundle_get_facts(bundle, &facts) == PARLEY_OK);
  }
  ~Nano() { parley_bundle_free(bundle); }
  Nano(const Nano&) = delete;
  Nano& operator=(const Nano&) = delete;
};

struct Talk {
  parley_session* session = nullptr;
  std::vector<float> in, out;

  Talk(const Nano& nano, parley_session* own)
      : session(own), in(nano.facts.in_samples), out(nano.facts.out_samples) {}
  explicit Talk(const Nano& nano) : Talk(nano, nullptr) {
    REQUIRE(parley_session_new(nano.bundle, nullptr, &session) == PARLEY_OK);
  }
  ~Talk() { parley_session_free(session); }
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  // A tone that the model hears; the same at the same place.
  void hum(int chunk) {
    for (std::size_t i = 0; i < in.size(); ++i)
      in[i] = 0.1F * std::sin(0.05F * static_cast<float>(i + chunk * in.size()));
  }
  std::int32_t step(parley_step* step = nullptr) {
    return parley_session_step(session, in.data(), in.size(), out.data(), out.size(), step);
  }
};

TEST(the_library_is_the_headers) {
  CHECK_EQ(parley_abi(), PARLEY_ABI);
  CHECK_EQ(parley_header_abi(), PARLEY_ABI);
  CHECK_EQ(std::string_view(parley_code_name(PARLEY_BUSY)), "busy");
  CHECK_EQ(std::string_view(parley_code_name(PARLEY_FAILED)), "failed");
  CHECK_EQ(std::string_view(parley_code_name(-1)), "unknown");
  CHECK_EQ(std::string_view(parley_code_name(10)), "unknown");
}

TEST(a_folder_without_a_bundle_is_a_code_and_a_text) {
  auto* bundle = reinterpret_cast<parley_bundle*>(1);
  CHECK_EQ(parley_bundle_open("/no/such/bundle", nullptr, &bundle), PARLEY_BAD_BUNDLE);
  CHECK(bundle == nullptr && tells("/no/such/bundle") && tells("[bundle.open] expected"));
  std::thread([] { CHECK_EQ(std::string_view(parley_last_error()), ""); }).join();
}

TEST(null_is_refused_by_everything_that_can_fail_and_freed) {
  parley_step step{};
  parley_event event{};
  CHECK_EQ(parley_bundle_open(nullptr, nullptr, nullptr), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_bundle_get_facts(nullptr, nullptr), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_session_new(nullptr, nullptr, nullptr), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_session_step(nullptr, nullptr, 0, nullptr, 0, &step), PARLEY_BAD_INPUT);
  CHECK(tells("expected a session, got NULL; pass one"));
  CHECK_EQ(parley_session_event(nullptr, 0, &event), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_session_interrupt(nullptr, 0), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_session_get_state(nullptr, nullptr), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_live_new(nullptr, nullptr, nullptr, nullptr), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_live_wait(nullptr, 0, nullptr), PARLEY_BAD_INPUT);
  CHECK(parley_bundle_voice(nullptr, 0) == nullptr);
  parley_bundle_free(nullptr);
  parley_session_free(nullptr);
  parley_live_free(nullptr);
  parley_live_capture(nullptr, nullptr, 0);
}

// A caller that was compiled with a header of fields that this library does not know.
struct LaterOptions {
  parley_open_options known;
  std::int64_t later;
};

TEST(structs_of_other_versions_are_read_as_far_as_they_are_known) {
  parley_bundle* bundle = nullptr;
  const auto open = [&](const void* options) {
    return parley_bundle_open("/no/such/bundle", static_cast<const parley_open_options*>(options),
                              &bundle);
  };
  LaterOptions later{};
  later.known.size = sizeof later;
  CHECK_EQ(open(&later), PARLEY_BAD_BUNDLE);  // as far as the folder
  later.later = 1;
  CHECK_EQ(open(&later), PARLEY_BAD_INPUT);
  CHECK(tells("use the library that the header belongs to"));
  parley_open_options none{};
  CHECK_EQ(open(&none), PARLEY_BAD_INPUT);
  CHECK(tells("`size` to be the struct's sizeof, got 0"));
  const std::uint32_t earlier = sizeof earlier;  // the first field alone
  CHECK_EQ(open(&earlier), PARLEY_BAD_BUNDLE);
}

TEST(what_is_given_out_is_as_much_as_the_caller_knows) {
  const Nano nano;
  struct {
    std::uint32_t size = 8;
    std::uint32_t modes = 0;
    std::uint64_t guard = 7;
  } earlier;
  CHECK_EQ(parley_bundle_get_facts(nano.bundle, reinterpret_cast<parley_bundle_facts*>(&earlier)),
           PARLEY_OK);
  CHECK_EQ(earlier.modes, 1U << PARLEY_DUPLEX);
  CHECK(earlier.guard == 7 && earlier.size == 8);
  CHECK_EQ(nano.facts.in_samples, 3840U);
  CHECK_EQ(nano.facts.out_hz, 24000);
  REQUIRE(nano.facts.n_voices > 0);
  CHECK(!std::string_view(parley_bundle_voice(nano.bundle, 0)).empty());
  CHECK(parley_bundle_voice(nano.bundle, nano.facts.n_voices) == nullptr);
  CHECK(!std::string_view(parley_bundle_notice(nano.bundle)).empty());
}

TEST(wrong_options_are_told_and_make_no_session) {
  const Nano nano;
  auto* session = reinterpret_cast<parley_session*>(1);
  parley_session_options options{};
  options.size = sizeof options;
  options.mode = 3;
  CHECK_EQ(parley_session_new(nano.bundle, &options, &session), PARLEY_BAD_INPUT);
  CHECK(session == nullptr && tells("got 3"));
  options.mode = PARLEY_DUPLEX;
  options.voice = "nobody";
  CHECK_EQ(parley_session_new(nano.bundle, &options, &session), PARLEY_BAD_INPUT);
  CHECK(tells("nobody"));
  options.voice = nullptr;
  options.top_p = 7;  // not given, so not read
  CHECK_EQ(parley_session_new(nano.bundle, &options, &session), PARLEY_OK);
  parley_session_free(session);
  options.gives = PARLEY_GIVES_TOP_P;
  CHECK_EQ(parley_session_new(nano.bundle, &options, &session), PARLEY_BAD_INPUT);
}

TEST(a_step_that_fails_changes_nothing) {
  const Nano nano;
  Talk talk(nano);
  parley_step step{};
  step.size = sizeof step;
  talk.hum(0);
  talk.in[5] = std::nanf("");
  CHECK_EQ(talk.step(&step), PARLEY_BAD_INPUT);
  CHECK(tells("[session.step]") && step.made == 0);
  talk.hum(0);
  CHECK_EQ(parley_session_step(talk.session, talk.in.data(), 7, talk.out.data(), talk.out.size(),
                               nullptr),
           PARLEY_BAD_INPUT);
  CHECK_EQ(talk.step(&step), PARLEY_OK);
  CHECK(step.made == 1 && step.index == 0 && step.total_ns > 0);
  CHECK(step.stage_ns[2] > 0 && step.floor == PARLEY_LISTENING);
  parley_event event{};
  event.size = sizeof event;
  REQUIRE(step.n_events > 0);
  CHECK_EQ(parley_session_event(talk.session, 0, &event), PARLEY_OK);
  CHECK_EQ(event.kind, PARLEY_THINK);
  CHECK(event.text[event.text_bytes] == '\0');
  CHECK_EQ(parley_session_event(talk.session, step.n_events, &event), PARLEY_BAD_INPUT);
  parley_session_close(talk.session);
  CHECK_EQ(talk.step(&step), PARLEY_CLOSED);
}

TEST(blocks_of_any_size_fork_save_and_resume_give_the_same_samples) {
  const Nano nano;
  Talk whole(nano), cut(nano);
  const ScratchFolder folder;
  const std::string saved = (folder.path() / "saved").string();
  std::array<std::vector<float>, 3> expected;
  for (int chunk = 0; chunk < 3; ++chunk) {
    whole.hum(chunk);
    REQUIRE(whole.step() == PARLEY_OK);
    expected[static_cast<std::size_t>(chunk)] = whole.out;
    if (chunk == 0) REQUIRE(parley_session_save(whole.session, saved.c_str()) == PARLEY_OK);
  }
  parley_step step{};
  step.size = sizeof step;
  for (int chunk = 0; chunk < 3; ++chunk) {
    cut.hum(chunk);
    for (std::size_t at = 0; at < cut.in.size(); at += 480)
      REQUIRE(parley_session_feed(cut.session, cut.in.data() + at, 480, 0) == PARLEY_OK);
    CHECK_EQ(parley_session_next(cut.session, cut.out.data(), cut.out.size(), &step), PARLEY_OK);
    CHECK(step.made == 1 && cut.out == expected[static_cast<std::size_t>(chunk)]);
    CHECK_EQ(parley_session_next(cut.session, cut.out.data(), cut.out.size(), &step), PARLEY_OK);
    CHECK(step.made == 0 && step.n_events == 0);
  }
  parley_session* made = nullptr;
  REQUIRE(parley_session_resume(nano.bundle, saved.c_str(), &made) == PARLEY_OK);
  Talk resumed(nano, made);
  REQUIRE(parley_session_fork(resumed.session, &made) == PARLEY_OK);
  Talk forked(nano, made);
  for (Talk* talk : {&resumed, &forked}) {
    talk->hum(1);
    REQUIRE(talk->step() == PARLEY_OK);
    CHECK(talk->out == expected[1]);
  }
  CHECK_EQ(parley_session_resume(nano.bundle, "/no/such/file", &made), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_session_save(resumed.session, "/no/such/folder/file"), PARLEY_FAILED);
}

TEST(cancel_and_interrupt_come_from_any_thread) {
  const Nano nano;
  Talk talk(nano);
  talk.hum(0);
  CHECK_EQ(parley_session_cancel(talk.session), PARLEY_OK);
  CHECK_EQ(talk.step(), PARLEY_CANCELLED);
  CHECK_EQ(talk.step(), PARLEY_OK);
  CHECK_EQ(parley_session_interrupt(talk.session, -1), PARLEY_OK);
  parley_session_state state{};
  state.size = sizeof state;
  CHECK_EQ(parley_session_get_state(talk.session, &state), PARLEY_OK);
  CHECK(state.mode == PARLEY_DUPLEX && state.position > 0 && state.out_delay_samples > 0);
  CHECK_EQ(parley_session_end_turn(talk.session), PARLEY_BAD_INPUT);
  CHECK(tells("mode turns"));
}

TEST(a_second_thread_is_told_that_the_session_is_busy) {
  const Nano nano;
  Talk talk(nano);
  talk.hum(0);
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) talk.step();
  });
  std::int32_t code = PARLEY_OK;
  for (int i = 0; i < 100'000 && code != PARLEY_BUSY; ++i)
    code = parley_session_send_text(talk.session, "x");  // refused: duplex; or busy
  done = true;
  other.join();
  CHECK_EQ(code, PARLEY_BUSY);
}

TEST(a_live_conversation_takes_the_session_over) {
  const Nano nano;
  Talk talk(nano);
  parley_live_options options{};
  options.size = sizeof options;
  options.format = PARLEY_S16;
  options.capture_hz = 7;
  parley_live* live = nullptr;
  CHECK_EQ(parley_live_new(nano.bundle, talk.session, &options, &live), PARLEY_BAD_INPUT);
  CHECK_EQ(talk.step(), PARLEY_OK);  // still the caller's
  options.capture_hz = 0;
  REQUIRE(parley_live_new(nano.bundle, talk.session, &options, &live) == PARLEY_OK);
  CHECK_EQ(talk.step(), PARLEY_CLOSED);
  parley_live* second = nullptr;
  CHECK_EQ(parley_live_new(nano.bundle, talk.session, &options, &second), PARLEY_CLOSED);
  CHECK(second == nullptr);
  parley_live_free(live);
}

TEST(a_live_conversation_steps_as_blocks_come) {
  const Nano nano;
  Talk talk(nano);
  parley_live* live = nullptr;
  REQUIRE(parley_live_new(nano.bundle, talk.session, nullptr, &live) == PARLEY_OK);
  std::array<float, 480> block{};
  std::int32_t steps = 0, stepped = 0;
  for (int i = 0; i < 100; ++i) {
    parley_live_capture(live, block.data(), block.size());
    while (parley_live_turn(live, &stepped) == PARLEY_OK && stepped) ++steps;
    parley_live_render(live, block.data(), block.size());
    block.fill(0);
  }
  CHECK(steps >= 4);
  parley_live_event event{};
  event.size = sizeof event;
  int seen = 0;
  while (parley_live_wait(live, 0, &event) == PARLEY_OK && event.kind >= 0)
    seen += event.kind == PARLEY_LIVE_STEP ? 1 : 0;
  CHECK_EQ(seen, steps);
  CHECK_EQ(event.kind, -1);
  parley_live_statistics now{};
  now.size = sizeof now;
  CHECK_EQ(parley_live_get_statistics(live, &now), PARLEY_OK);
  CHECK_EQ(now.steps, steps);
  CHECK_EQ(parley_live_wait(live, -1, &event), PARLEY_BAD_INPUT);
  CHECK_EQ(parley_live_stop(live), PARLEY_OK);
  while (parley_live_wait(live, 0, &event) == PARLEY_OK) {
  }
  CHECK_EQ(parley_live_wait(live, 0, &event), PARLEY_CLOSED);
  parley_live_free(live);
}

TEST(handles_may_be_freed_in_any_order) {
  parley_session* session = nullptr;
  std::vector<float> in, out;
  {
    const Nano nano;
    REQUIRE(parley_session_new(nano.bundle, nullptr, &session) == PARLEY_OK);
    in.resize(nano.facts.in_samples);
    out.resize(nano.facts.out_samples);
  }
  CHECK_EQ(parley_session_step(session, in.data(), in.size(), out.data(), out.size(), nullptr),
           PARLEY_OK);
  parley_session_free(session);
}

}  // namespace
