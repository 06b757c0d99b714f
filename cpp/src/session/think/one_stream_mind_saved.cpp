// A fork of a one-stream mind, and its way to bytes and back.
#include <algorithm>
#include <span>
#include <vector>

#include "session/think/one_stream_mind.h"

namespace parley {

OneStreamMind::OneStreamMind(const OneStreamMind& other)
    : parts_(other.parts_),
      sampler_(other.sampler_),
      state_(parts_.backbone->fork(*other.state_)),
      window_(other.window_),
      done_(other.done_),
      work_(other.done_),
      code_positions_(other.code_positions_) {
  batch_.reserve(other.batch_.capacity());
  said_.reserve(other.said_.capacity());
}

std::unique_ptr<Mind> OneStreamMind::fork() {
  return std::unique_ptr<Mind>(new OneStreamMind(*this));
}

void OneStreamMind::save(ByteWriter& to) {
  to.put_all(done_.unread.all());
  to.put(done_.stop);
  to.put_flag(done_.drawing);
  to.put_flag(done_.voiced);
  to.put_flag(done_.voicing);
  to.put_flag(done_.calling);
  to.put(done_.slot);
  to.put(done_.reply_start);
  to.put(done_.n_drawn);
  to.put(done_.reply_steps);
  to.put(done_.forgotten);
  to.put(done_.turn_start);
  to.put_all(done_.turn_start_unread.all());
  to.put_all(std::span<const std::int64_t>(code_positions_).first(done_.n_code_positions));
  sampler_.save(to);
  state_->save(to);
  if (window_) window_->save(to);
}

OneStreamMind::Unread OneStreamMind::load_unread(ByteReader& from) const {
  const auto n_ids = static_cast<std::int32_t>(parts_.backbone->vocab_size());
  Unread unread;
  for (const std::int32_t id : from.get_some<std::int32_t>(unread.ids.size())) {
    ByteReader::require(id >= 0 && id < n_ids, "ids of this vocabulary");
    unread.add(id);
  }
  return unread;
}

void OneStreamMind::load(ByteReader& from) {
  done_ = {};
  done_.unread = load_unread(from);
  done_.stop = from.get<EndReason>();
  done_.drawing = from.get_flag();
  done_.voiced = from.get_flag();
  done_.voicing = from.get_flag();
  done_.calling = from.get_flag();
  done_.slot = from.get<std::uint32_t>();
  done_.reply_start = from.get<std::int64_t>();
  done_.n_drawn = from.get<std::int32_t>();
  done_.reply_steps = from.get<std::int32_t>();
  done_.forgotten = from.get<std::int64_t>();
  done_.turn_start = from.get<std::int64_t>();
  done_.turn_start_unread = load_unread(from);
  const auto positions = from.get_some<std::int64_t>(code_positions_.size());
  done_.n_code_positions = positions.size();
  std::copy(positions.begin(), positions.end(), code_positions_.begin());
  sampler_.load(from);
  state_->load(from);
  const std::int64_t next = parts_.backbone->next_position(*state_);
  if (window_) window_->load(from, next);
  const bool good = done_.slot <= parts_.rules->voiced.slots.size() && done_.reply_start >= 0 &&
                    done_.reply_start <= next && done_.stop <= EndReason::context &&
                    done_.n_drawn >= 0 && done_.reply_steps >= 0 && done_.forgotten >= 0 &&
                    done_.turn_start >= 0 && done_.turn_start <= next &&
                    std::is_sorted(positions.begin(), positions.end()) &&
                    (positions.empty() || positions.front() >= 0) &&
                    next >= static_cast<std::int64_t>(parts_.rules->prompt.size());
  ByteReader::require(good, "a history that makes sense");
  work_ = done_;
}

}  // namespace parley
