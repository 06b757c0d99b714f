// What is left of a reply that was not heard to its end, and how a history closes it.
#include <algorithm>

#include "session/think/one_stream_mind.h"

namespace parley {

bool OneStreamMind::interrupt(std::size_t heard_codes) {
  if (parts_.rules->reads_stop) {
    if (done_.drawing) done_.stop = EndReason::interrupted;
    return false;
  }
  const std::size_t group = std::max<std::size_t>(parts_.rules->groups.codes, 1);
  heard_codes = (heard_codes + group - 1) / group * group;
  if (!done_.drawing && heard_codes >= done_.n_code_positions) return true;  // all of it was heard
  bool open = done_.voicing;
  // Codes nobody heard are forgotten, with what follows them.
  if (heard_codes < done_.n_code_positions) {
    const std::int64_t position = cut_at(heard_codes);
    if (position < parts_.backbone->next_position(*state_))
      parts_.backbone->truncate(*state_, position);
    done_.n_code_positions = heard_codes;
    done_.unread = {};
    open = true;
  }
  if (parts_.rules->groups.codes == 0) done_.unread = {};  // the last draw belongs to no group
  close(done_, open);
  done_.drawing = done_.voicing = false;
  return true;
}

// Where a history that keeps the first n codes of the reply ends: where code n lies, or in groups,
// whose text comes first, behind the code before.
std::int64_t OneStreamMind::cut_at(std::size_t n_codes) const {
  if (parts_.rules->groups.codes == 0) return code_positions_[n_codes];
  return n_codes == 0 ? done_.reply_start : code_positions_[n_codes - 1] + 1;
}

void OneStreamMind::close(Progress& progress, bool speech) const {
  if (speech && progress.voiced && parts_.rules->groups.end >= 0)
    progress.unread.add(parts_.rules->groups.end);
  progress.unread.add(parts_.rules->stop_id);
}

}  // namespace parley
