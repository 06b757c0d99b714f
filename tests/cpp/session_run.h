// A session stepped by hand and everything that it gave; shared by the session tests.
#pragma once
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "scripted_stages.h"
#include "session/session.h"

namespace session_run {

using namespace parley;
using scripted::kAudio;
using scripted::kBreak;
using scripted::kEnd;
using scripted::kPad;
using scripted::kShift;
using scripted::kThink;
using scripted::Stages;

constexpr std::size_t kChunk = 3840;
inline const float kNear = static_cast<float>(check::tolerance("SAMPLE_ABS"));
using Chunk = std::array<float, kChunk>;

// What a code's samples are worth.
inline float sound(int code) {
  return static_cast<float>(code + 1) / 1000.0F;
}

struct Seen {
  EventKind kind;
  std::int64_t sample;
  EndReason reason;
  std::string text;
  std::int64_t count;
  bool operator==(const Seen&) const = default;
};

// Everything that a run gave, so that two runs can be compared.
struct Run {
  std::vector<float> samples;
  std::vector<Seen> events;
  std::vector<Floor> floors;

  void step(Session& session, float input = 0.0F) {
    Chunk in;
    in.fill(input);
    Chunk out;
    const Step step = session.step(in, out);
    samples.insert(samples.end(), out.begin(), out.end());
    for (const Event& e : step.events)
      events.push_back({e.kind, e.sample, e.reason, std::string(e.text), e.count});
    floors.push_back(step.floor);
    // Another thread may have closed it meanwhile.
    if (const auto now = Session::Impl::of(session).snapshot())
      CHECK_EQ(broken_invariant(*now), "");
  }
  void steps(Session& session, int n) {
    for (int i = 0; i < n; ++i) step(session);
  }
  const Seen* find(EventKind kind) const {
    for (const Seen& e : events)
      if (e.kind == kind) return &e;
    return nullptr;
  }
  int count(EventKind kind) const {
    int n = 0;
    for (const Seen& e : events) n += e.kind == kind;
    return n;
  }
  std::string text() const {
    std::string all;
    for (const Seen& e : events) all += e.text;
    return all;
  }
  // Where a code's sound begins; its samples are (code + 1) / 1000.
  std::int64_t first(int code) const {
    for (std::size_t i = 0; i < samples.size(); ++i)
      if (std::abs(samples[i] - sound(code)) < kNear) return static_cast<std::int64_t>(i);
    return -1;
  }
};

inline std::int32_t code(int k) {
  return kAudio + k;
}

// THINK twice, a reply of three chunks (the text ends after two pieces), BREAK, then THINK.
inline std::vector<std::int32_t> spoken_script() {
  return {kThink,  kThink,  kShift,  1,    code(0), code(1), code(2),  code(3),  2,     code(4),
          code(5), code(6), code(7), kPad, code(8), code(9), code(10), code(11), kBreak};
}

// The ways to converse that differ in what a session remembers between steps.
enum class Kind { duplex, turns, prefill, overlap };
constexpr Kind kKinds[] = {Kind::duplex, Kind::turns, Kind::prefill, Kind::overlap};

inline bool is_duplex(Kind kind) {
  return kind == Kind::duplex || kind == Kind::overlap;
}

inline Stages stages_for(Kind kind) {
  Stages stages(4, 13);
  if (is_duplex(kind)) {
    stages.backbone->script = spoken_script();
  } else {
    for (int k = 0; k < 30; ++k) stages.backbone->script.push_back(k % 7 == 0 ? 3 : code(k));
    stages.backbone->otherwise = kEnd;
  }
  return stages;
}

inline SessionParts parts_for(const Stages& stages, Kind kind) {
  SessionParts parts = is_duplex(kind) ? stages.duplex() : stages.turns();
  if (kind == Kind::prefill) parts.prefill_budget = 3;
  parts.overlap = kind == Kind::overlap;
  parts.clock = std::make_shared<SteadyClock>();
  return parts;
}

// Something else is said in every step; in turns, the turn ends behind the third.
inline void play(Run& run, Session& session, int from, int to) {
  for (int i = from; i < to; ++i) {
    if (i == 3 && session.mode() == Mode::turns) session.end_turn();
    run.step(session, 0.001F * static_cast<float>(i * i % 97));
  }
}

}  // namespace session_run
