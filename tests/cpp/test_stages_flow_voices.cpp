// Tests of a voice's set-up: made once, shared, freed, and nobody waits for another voice's.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "flow_rig.h"

using namespace parley;
using namespace flow_rig;

namespace {

constexpr std::size_t kEvaluations = 6;

Rig cached_rig() {
  return Rig(config_of(6, 0, FlowMode::cached));
}

// How many set-ups the decoder has made.
std::int64_t set_ups(const Rig& rig) {
  return rig.modulation->runs();
}

}  // namespace

TEST(a_set_up_lives_as_long_as_its_states_and_the_last_one_longer) {
  Rig rig = cached_rig();
  CHECK_EQ(set_ups(rig), 1);
  rig.state.reset();
  rig.state = rig.flow->create_state(rig.voice);  // asked for last, so still there
  CHECK_EQ(set_ups(rig), 1);
  auto other = voice_of(0);
  const std::weak_ptr<const Voice> watched = other;
  StatePtr state = rig.flow->create_state(other);
  CHECK_EQ(set_ups(rig), 2);
  rig.flow->create_state(rig.voice);
  CHECK_EQ(set_ups(rig), 2);  // a state holds it
  other.reset();
  CHECK(!watched.expired());
  state.reset();
  CHECK(watched.expired());  // neither in use nor the last
  rig.state.reset();
  rig.flow->create_state(voice_of(1));
  rig.flow->create_state(rig.voice);
  CHECK_EQ(set_ups(rig), 4);
}

TEST(a_failed_set_up_leaves_nothing_and_is_made_again) {
  Rig rig = cached_rig();
  const auto voice = voice_of(1);
  for (std::size_t at = 1; at <= kEvaluations; ++at) {
    CHECK_THROWS_MSG(InputError, "enough",
                     rig.flow->create_state(voice, [&](std::size_t done, std::size_t all) {
                       CHECK_EQ(all, kEvaluations);
                       if (done == at) throw InputError("enough");
                     }));
  }
  CHECK(rig.flow->create_state(voice) != nullptr);
}

TEST(a_progress_may_open_states_of_any_voice) {
  Rig rig = cached_rig();
  const auto outer = voice_of(1);
  const auto inner = voice_of(2);
  std::vector<StatePtr> states;
  states.push_back(rig.flow->create_state(outer, [&](std::size_t done, std::size_t) {
    if (done != 2) return;
    states.push_back(rig.flow->create_state(rig.voice));  // known
    states.push_back(rig.flow->create_state(inner));      // new
    states.push_back(rig.flow->create_state(outer));      // the one under way
  }));
  CHECK_EQ(states.size(), 4U);
  const auto expected = [&] {
    Rig fresh(config_of(6, 0, FlowMode::cached), 1);
    return fresh.reply(codes_of(9));
  }();
  for (StatePtr* state : {&states[2], &states[3]}) {
    rig.state = std::move(*state);
    CHECK(rig.reply(codes_of(9)) == expected);
  }
}

TEST(a_voice_that_is_ready_waits_for_no_other) {
  Rig rig = cached_rig();
  const auto slow = voice_of(1);
  std::atomic<bool> under_way = false;
  std::atomic<bool> may_end = false;
  std::thread maker([&] {
    rig.flow->create_state(slow, [&](std::size_t, std::size_t) {
      under_way = true;
      while (!may_end) std::this_thread::yield();
    });
  });
  while (!under_way) std::this_thread::yield();
  CHECK(rig.flow->create_state(rig.voice) != nullptr);
  CHECK(rig.flow->create_state(voice_of(2)) != nullptr);
  may_end = true;
  maker.join();
}

TEST(many_threads_make_one_set_up_and_all_are_told) {
  Rig rig = cached_rig();
  const auto voice = voice_of(1);
  std::atomic<int> waiting = 0;
  std::vector<std::thread> threads;
  std::atomic<bool> told = false;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      bool mine = false;
      rig.flow->create_state(voice, [&](std::size_t done, std::size_t) {
        if (!mine) ++waiting;
        mine = true;
        // The maker goes on once another one has been told how far it is.
        while (done == 1 && waiting < 2) std::this_thread::yield();
        told = true;
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(told);
  CHECK_EQ(set_ups(rig), 2);
}

TEST(who_waits_for_one_that_fails_makes_it) {
  Rig rig = cached_rig();
  const auto voice = voice_of(1);
  std::atomic<bool> under_way = false;
  std::atomic<bool> other_waits = false;
  std::thread maker([&] {
    CHECK_THROWS_MSG(InputError, "enough",
                     rig.flow->create_state(voice, [&](std::size_t, std::size_t) {
                       under_way = true;
                       while (!other_waits) std::this_thread::yield();
                       throw InputError("enough");
                     }));
  });
  while (!under_way) std::this_thread::yield();
  const StatePtr state =
      rig.flow->create_state(voice, [&](std::size_t, std::size_t) { other_waits = true; });
  maker.join();
  CHECK(state != nullptr);
}
