// Spectra of real frames of one length and back, in double precision; knows no audio.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

namespace parley {

struct Complex {
  double re = 0.0;
  double im = 0.0;
};

// Mixed-radix Stockham transform for lengths whose factors are 2, 3 and 5, a plain sum of products
// otherwise. Source: Van Loan, "Computational frameworks for the fast Fourier transform", 1.7.
// Const and thread-safe: each caller brings its scratch.
class RealFft {
 public:
  struct Scratch {
    std::vector<Complex> a;
    std::vector<Complex> b;
  };

  explicit RealFft(std::size_t n);  // n >= 2
  std::size_t size() const { return n_; }
  std::size_t n_bins() const { return n_ / 2 + 1; }
  Scratch make_scratch() const;
  // `frame` [n] -> `power` [n_bins], |X|^2 without any scaling.
  void power(std::span<const double> frame, std::span<double> power, Scratch& scratch) const;
  // `frame` [n] -> `bins` [n_bins].
  void forward(std::span<const double> frame, std::span<Complex> bins, Scratch& scratch) const;
  // `bins` [n_bins] -> `frame` [n], such that inverse(forward(x)) is x.
  void inverse(std::span<const Complex> bins, std::span<double> frame, Scratch& scratch) const;

 private:
  const Complex* load(std::span<const double> frame, Scratch& scratch) const;
  Complex bin(const Complex* z, std::size_t k) const;
  const Complex* transform(Scratch& scratch) const;  // of scratch.a; returns where the result lies
  void plain(const Complex* in, Complex* out) const;

  std::size_t n_ = 0;                // of the frame
  std::size_t length_ = 0;           // of the complex transform: n / 2 where n is even
  std::vector<int> radices_;         // empty: the plain sum
  std::vector<Complex> roots_;       // exp(-2 pi i k / length), k < length
  std::vector<Complex> half_roots_;  // exp(-2 pi i k / n), k <= n / 2
};

}  // namespace parley
