// Managed turns under random users, models and faults: the world's rules hold after every event.
#include <random>

#include "turn_world.h"

namespace {

using namespace turn_world;
using Kind = Command::Kind;

template <typename Below>
void make_calls(World& world, const Below& below) {
  for (std::int32_t call = 1; call < 4000; ++call) {
    const int first = below(900);
    world.calls[call] = {.first_audio = first,
                         .generation = first + below(1500),
                         .length = below(8) == 0 ? 0 : below(5000),
                         .fails = below(10) == 0,
                         .tool = below(6) == 0 ? call : -1,
                         .tool_cancellable = below(2) == 0,
                         .sound_at_once = below(3) == 0 ? below(600) : -1};
  }
}

// Everything at random, for twenty minutes of the clock: the world's rules hold throughout.
std::vector<Command> random_life(std::uint64_t seed, const TurnAbilities& abilities) {
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  World world(abilities);
  make_calls(world, below);
  constexpr const char* kTexts[] = {"yes", "uh huh", "no stop", "", "set a timer"};
  std::int64_t time = 0;
  while (time < 1'200'000) {
    const std::int64_t from = time + below(2500);
    time = from + 30 + below(below(3) == 0 ? 4000 : 600);
    world.speak(from, time++);
    const std::int64_t when = time + below(2000);
    switch (below(8)) {
      case 0:
        world.at(when, transcript(below(4) == 0 ? 9 : 0, kTexts[below(5)]));
        break;
      case 1:
        world.at(when, {.kind = Event::Kind::context});
        break;
      case 2:
        world.at(when, {.kind = Event::Kind::tool_result, .id = below(2500)});
        break;
      case 3:
        world.at(when, {.kind = Event::Kind::eot_score,
                        .turn = below(4) == 0 ? 9 : 0,
                        .score = 0.1 * below(11)});
        break;
      case 4:
        world.at(when, {.kind = Event::Kind::timer, .timer = static_cast<TurnTimer>(below(5))});
        break;
      case 5:
        if (below(10) == 0) world.at(when, {.kind = Event::Kind::reset});
        break;
      case 6:
        if (below(10) == 0) world.at(when, {.kind = Event::Kind::device_lost});
        break;
      default:
        break;
    }
  }
  world.run(time + 60'000);
  CHECK(world.controller.state() == TurnState::silence);
  CHECK(world.count(Kind::commit) > 60);
  std::vector<Command> commands;
  for (const auto& entry : world.log) commands.push_back(entry.second);
  return commands;
}

TEST(the_rules_hold_whatever_happens_and_the_same_events_give_the_same_commands) {
  for (const TurnAbilities& abilities : {TurnAbilities{}, kScored, kWritten, kTextDriven}) {
    const std::vector<Command> commands = random_life(7, abilities);
    CHECK(commands == random_life(7, abilities));
  }
}

}  // namespace
