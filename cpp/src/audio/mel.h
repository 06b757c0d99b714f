// Mel powers of one windowed frame: Hann window, spectrum, Slaney's filters; knows no stream.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "audio/fft.h"
#include "audio/front_end.h"

namespace parley {

// Const and thread-safe: each caller brings its scratch.
class MelPowers {
 public:
  struct Scratch {
    RealFft::Scratch fft;
    std::vector<double> frame;
    std::vector<double> power;
    std::vector<double> mels;  // [n_mels], the result
  };

  explicit MelPowers(const FrontEndConfig& config);
  Scratch make_scratch() const;
  // `samples` [n_fft] at encoder_hz -> scratch.mels.
  void compute(std::span<const float> samples, Scratch& scratch) const;

 private:
  // A triangle over the spectrum's bins, of unit area in Hz; only the bins where it is not zero.
  struct Filter {
    std::size_t first_bin = 0;
    std::vector<double> weights;
  };

  RealFft fft_;
  std::vector<double> window_;
  std::vector<Filter> filters_;
};

// Returns its argument; throws InputError where it has sizes that no front end can have.
const FrontEndConfig& checked(const FrontEndConfig& config);

}  // namespace parley
