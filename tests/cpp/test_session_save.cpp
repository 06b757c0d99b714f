// Sessions that are saved and taken up again, at any moment; files that are damaged or hostile.
#include <fstream>
#include <iterator>
#include <random>

#include "base/sha256.h"
#include "scratch_folder.h"
#include "session/saved.h"
#include "session_run.h"

namespace {

using namespace session_run;

constexpr int kSteps = 14;

struct Conversation {
  Stages stages;
  std::optional<Session> session;

  explicit Conversation(Kind kind) : stages(stages_for(kind)) {
    SessionParts parts = parts_for(stages, kind);
    parts.origin = "a test";
    session.emplace(make_session(std::move(parts)));
  }
  void play(Run& run, int from, int to) { session_run::play(run, *session, from, to); }
  void load(const std::string& path) {
    const SavedSession saved = read_saved(path);
    CHECK_EQ(saved.origin, "a test");
    ByteReader body(saved.body);
    Session::Impl::of(*session).load(body);
  }
};

std::vector<char> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(const std::string& path, const std::vector<char>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// As save() would have written them.
std::vector<char> with_hash(std::vector<char> bytes) {
  bytes.resize(bytes.size() - 64);
  for (char c : sha256_of(std::as_bytes(std::span(bytes)))) bytes.push_back(c);
  return bytes;
}

TEST(what_follows_is_the_same_as_if_nothing_had_been) {
  const ScratchFolder folder;
  const std::string path = (folder.path() / "saved").string();
  for (const Kind kind : kKinds) {
    for (int at = 0; at <= kSteps; ++at) {
      Run kept;
      Run resumed;
      Conversation first(kind);
      Run before;
      first.play(before, 0, at);
      first.session->save(path);
      first.play(kept, at, kSteps);
      Conversation second(kind);
      second.load(path);
      second.play(resumed, at, kSteps);
      CHECK(resumed.samples == kept.samples);
      CHECK(resumed.events == kept.events);
      CHECK(resumed.floors == kept.floors);
      CHECK_EQ(second.session->position(), first.session->position());
    }
  }
}

TEST(penalties_and_draws_go_on) {
  const ScratchFolder folder;
  const auto make = [](Stages& stages) {
    SessionParts parts = stages.duplex();
    parts.duplex->sampling.temperature = 5.0F;
    parts.duplex->sampling.repetition_penalty = 20.0F;
    parts.duplex->window_positions = 20;
    parts.seed = 7;
    return make_session(std::move(parts));
  };
  Stages stages;
  Session session = make(stages);
  Run run;
  run.steps(session, 60);
  session.save((folder.path() / "saved").string());
  Run kept;
  kept.steps(session, 60);
  Stages others;
  Session resumed = make(others);
  const SavedSession saved = read_saved((folder.path() / "saved").string());
  ByteReader body(saved.body);
  Session::Impl::of(resumed).load(body);
  Run again;
  again.steps(resumed, 60);
  CHECK(kept.count(EventKind::shift) > 0);
  CHECK(kept.count(EventKind::window) > 0);
  CHECK(again.samples == kept.samples);
  CHECK(again.events == kept.events);
}

TEST(a_damaged_file_is_refused) {
  const ScratchFolder folder;
  const std::string path = (folder.path() / "saved").string();
  Conversation conversation(Kind::duplex);
  Run run;
  conversation.play(run, 0, 5);
  conversation.session->save(path);
  const std::vector<char> good = bytes_of(path);
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    std::vector<char> bad = good;
    if (i % 2 == 0) {
      bad.resize(random() % good.size());
    } else {
      bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
    }
    write(path, bad);
    CHECK_THROWS_MSG(InputError, "[s", read_saved(path));
  }
  write(path, {});
  CHECK_THROWS_MSG(InputError, "another kind of file", read_saved(path));
  CHECK_THROWS_MSG(InputError, "no file that can be read",
                   read_saved((folder.path() / "none").string()));
  CHECK_THROWS_MSG(Error, "[session.save]",
                   conversation.session->save((folder.path() / "no" / "where").string()));
}

// With a hash that fits: whatever is in it, a session refuses it, or goes on without harm.
TEST(a_hostile_file_does_no_harm) {
  const ScratchFolder folder;
  const std::string path = (folder.path() / "saved").string();
  std::mt19937 random(2);
  int refused = 0;
  for (const Kind kind : kKinds) {
    Conversation conversation(kind);
    Run run;
    conversation.play(run, 0, 6);
    conversation.session->save(path);
    const std::vector<char> good = bytes_of(path);
    for (int i = 0; i < 400; ++i) {
      std::vector<char> bad = good;
      for (unsigned n = 1 + random() % 4; n > 0; --n)
        bad[60 + random() % (bad.size() - 130)] = static_cast<char>(random());
      write(path, with_hash(bad));
      Conversation victim(kind);
      try {
        victim.load(path);
        std::array<float, kChunk> in{};
        std::array<float, kChunk> out;
        for (int k = 0; k < 3; ++k) victim.session->step(in, out);
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(refused > 100);
}

}  // namespace
