// Samples that wait for their step: any number at any rate becomes whole chunks; knows no organ.
#pragma once
#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "parley/resampler.hpp"

namespace parley {

class Intake {
 public:
  Intake(int hz, std::size_t chunk_samples) : hz_(hz), chunk_samples_(chunk_samples) {}

  // `hz`: of the samples. Another one than before ends the stream before. Throws InputError for a
  // rate that no device has, and changes nothing then.
  void add(std::span<const float> samples, int hz) {
    if (hz == hz_) {
      end_stream();
      waiting_.insert(waiting_.end(), samples.begin(), samples.end());
      return;
    }
    if (!resampler_ || resampler_->from_hz() != hz) {
      Resampler next(hz, hz_);  // first: it may refuse the rate
      end_stream();
      resampler_.emplace(std::move(next));
    }
    const std::size_t before = waiting_.size();
    waiting_.resize(before + resampler_->max_output(samples.size()));
    waiting_.resize(before + resampler_->push(samples, std::span(waiting_).subspan(before)));
  }
  // What the resampler holds back comes, as if silence followed.
  void end_stream() {
    if (!resampler_) return;
    const std::size_t before = waiting_.size();
    waiting_.resize(before + resampler_->max_output(0));
    waiting_.resize(before + resampler_->finish(std::span(waiting_).subspan(before)));
    resampler_.reset();
  }
  // The stream ends, and silence fills its last chunk.
  void fill() {
    end_stream();
    const std::size_t rest = waiting() % chunk_samples_;
    if (rest > 0) waiting_.resize(waiting_.size() + chunk_samples_ - rest);
  }
  void clear() {
    waiting_.clear();
    resampler_.reset();
    taken_ = 0;
  }

  int hz() const { return hz_; }
  bool empty() const { return waiting() == 0 && !resampler_; }
  std::size_t waiting() const { return waiting_.size() - taken_; }
  bool has_chunk() const { return waiting() >= chunk_samples_; }
  // The next chunk; it waits on until it is taken.
  std::span<const float> chunk() const {
    return std::span<const float>(waiting_).subspan(taken_, chunk_samples_);
  }
  void take() {
    taken_ += chunk_samples_;
    if (2 * taken_ < waiting_.size()) return;  // so that each sample moves once, on average
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken_));
    taken_ = 0;
  }

 private:
  int hz_;
  std::size_t chunk_samples_;
  std::optional<Resampler> resampler_;  // of a stream at another rate
  std::vector<float> waiting_;
  std::size_t taken_ = 0;  // of them
};

}  // namespace parley
