// How samples come to a session: a chunk at a time, or as many as there are; decides nothing.
#include <cmath>
#include <string>

#include "session/session.h"

namespace parley {

namespace {

void check_finite(const std::string& verb, std::span<const float> in) {
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (std::isfinite(in[i])) continue;
    throw InputError("[session." + verb + "] expected finite samples, got " +
                     std::to_string(in[i]) + " at sample " + std::to_string(i) +
                     "; mend the source or pass silence");
  }
}

}  // namespace

void Session::Impl::refuse_waiting(const std::string& verb) const {
  if (intake_.empty()) return;
  throw InputError("[session." + verb + "] expected no samples left over from feed(), got " +
                   std::to_string(intake_.waiting()) +
                   "; flush() and take the steps of next() first, or use feed() throughout");
}

Step Session::Impl::step(std::span<const float> in, std::span<float> out) {
  const std::unique_lock<std::mutex> lock = enter("step");
  if (in.size() != setup_.chunk_samples || out.size() != setup_.out_chunk_samples) {
    throw InputError("[session.step] expected " + std::to_string(setup_.chunk_samples) +
                     " samples in and " + std::to_string(setup_.out_chunk_samples) + " out, got " +
                     std::to_string(in.size()) + " and " + std::to_string(out.size()) +
                     "; pass whole chunks, or feed() others");
  }
  check_finite("step", in);
  refuse_waiting("step");
  end_turn_if_due();
  read_result_if_due();
  return run(in, out);
}

void Session::Impl::feed(std::span<const float> in, int hz) {
  const std::unique_lock<std::mutex> lock = enter("feed");
  check_finite("feed", in);
  intake_.add(in, hz == 0 ? setup_.input_hz : hz);
}

std::optional<Step> Session::Impl::next(std::span<float> out) {
  const std::unique_lock<std::mutex> lock = enter("next");
  if (out.size() != setup_.out_chunk_samples) {
    throw InputError("[session.next] expected room for " +
                     std::to_string(setup_.out_chunk_samples) + " samples, got " +
                     std::to_string(out.size()) + "; pass Bundle::out_chunk_samples()");
  }
  end_turn_if_due();
  if (!intake_.has_chunk()) return std::nullopt;
  read_result_if_due();
  const Step step = run(intake_.chunk(), out);
  intake_.take();
  if (end_in_) *end_in_ -= static_cast<std::int64_t>(setup_.chunk_samples);
  return step;
}

void Session::Impl::flush() {
  const std::unique_lock<std::mutex> lock = enter("flush");
  intake_.fill();
}

}  // namespace parley
