// The mixed-radix transform and the split of a real frame into one of half the length.
#include "audio/fft.h"

#include <cmath>
#include <numbers>
#include <utility>

namespace parley {
namespace {

Complex operator+(Complex a, Complex b) {
  return {a.re + b.re, a.im + b.im};
}
Complex operator-(Complex a, Complex b) {
  return {a.re - b.re, a.im - b.im};
}
Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
Complex operator*(double a, Complex b) {
  return {a * b.re, a * b.im};
}
Complex rotated(Complex a) {
  return {a.im, -a.re};
}  // times -i

std::vector<Complex> roots(std::size_t n, std::size_t count) {
  std::vector<Complex> out(count);
  for (std::size_t k = 0; k < count; ++k) {
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
    out[k] = {std::cos(angle), -std::sin(angle)};
  }
  return out;
}

// Of R, made before main() so that no transform allocates.
template <int R>
const std::vector<Complex> kRoots = roots(R, R);

// The transform of R values in place. Odd R pairs the values at j and R - j.
template <int R>
void small(Complex* v) {
  if constexpr (R == 2) {
    v[1] = std::exchange(v[0], v[0] + v[1]) - v[1];
  } else if constexpr (R == 4) {
    const Complex s02 = v[0] + v[2];
    const Complex d02 = v[0] - v[2];
    const Complex s13 = v[1] + v[3];
    const Complex d13 = rotated(v[1] - v[3]);
    v[0] = s02 + s13;
    v[1] = d02 + d13;
    v[2] = s02 - s13;
    v[3] = d02 - d13;
  } else {
    Complex sums[R / 2];
    Complex differences[R / 2];
    const Complex first = v[0];
    for (int j = 1; j <= R / 2; ++j) {
      sums[j - 1] = v[j] + v[R - j];
      differences[j - 1] = rotated(v[j] - v[R - j]);
      v[0] = v[0] + sums[j - 1];
    }
    for (int k = 1; k <= R / 2; ++k) {
      Complex even = first;
      Complex odd;
      for (int j = 1; j <= R / 2; ++j) {
        const Complex root = kRoots<R>[j * k % R];
        even = even + root.re * sums[j - 1];
        odd = odd - root.im * differences[j - 1];
      }
      v[k] = even + odd;
      v[R - k] = even - odd;
    }
  }
}

// One pass over `n` values in `stride` interleaved transforms of length `n / stride`.
template <int R>
void pass(const Complex* in, Complex* out, std::size_t n, std::size_t stride,
          const std::vector<Complex>& roots) {
  const std::size_t part = n / stride / R;
  for (std::size_t p = 0; p < part; ++p) {
    Complex twiddle[R];
    for (std::size_t k = 1; k < R; ++k) twiddle[k] = roots[p * k * stride];
    for (std::size_t q = 0; q < stride; ++q) {
      Complex v[R];
      for (std::size_t j = 0; j < R; ++j) v[j] = in[q + stride * (p + part * j)];
      small<R>(v);
      Complex* to = out + q + stride * R * p;
      to[0] = v[0];
      for (std::size_t k = 1; k < R; ++k) to[stride * k] = twiddle[k] * v[k];
    }
  }
}

std::vector<int> factors(std::size_t n) {
  std::vector<int> radices;
  for (const int r : {4, 2, 3, 5}) {
    for (; n % static_cast<std::size_t>(r) == 0; n /= static_cast<std::size_t>(r)) {
      radices.push_back(r);
    }
  }
  return n == 1 ? radices : std::vector<int>();
}

}  // namespace

RealFft::RealFft(std::size_t n)
    : n_(n),
      length_(n % 2 == 0 ? n / 2 : n),
      radices_(factors(length_)),
      roots_(roots(length_, length_)),
      half_roots_(roots(n, n / 2 + 1)) {}

RealFft::Scratch RealFft::make_scratch() const {
  return {std::vector<Complex>(length_ + 1), std::vector<Complex>(length_ + 1)};
}

void RealFft::plain(const Complex* in, Complex* out) const {
  for (std::size_t k = 0; k < length_; ++k) {
    Complex sum;
    for (std::size_t j = 0; j < length_; ++j) sum = sum + roots_[j * k % length_] * in[j];
    out[k] = sum;
  }
}

const Complex* RealFft::transform(Scratch& scratch) const {
  Complex* in = scratch.a.data();
  Complex* out = scratch.b.data();
  if (radices_.empty()) {
    plain(in, out);
    return out;
  }
  std::size_t stride = 1;
  for (const int radix : radices_) {
    switch (radix) {
      case 2:
        pass<2>(in, out, length_, stride, roots_);
        break;
      case 3:
        pass<3>(in, out, length_, stride, roots_);
        break;
      case 4:
        pass<4>(in, out, length_, stride, roots_);
        break;
      default:
        pass<5>(in, out, length_, stride, roots_);
        break;
    }
    stride *= static_cast<std::size_t>(radix);
    std::swap(in, out);
  }
  return in;
}

// Where the length is even, even samples go in as real parts and odd ones as imaginary parts.
const Complex* RealFft::load(std::span<const double> frame, Scratch& scratch) const {
  for (std::size_t k = 0; k < length_; ++k) {
    scratch.a[k] = length_ < n_ ? Complex{frame[2 * k], frame[2 * k + 1]} : Complex{frame[k], 0.0};
  }
  return transform(scratch);
}

Complex RealFft::bin(const Complex* z, std::size_t k) const {
  const Complex x = z[k % length_];
  if (length_ == n_) return x;
  const Complex mirror = z[(length_ - k) % length_];
  const Complex conjugate{mirror.re, -mirror.im};
  return 0.5 * (x + conjugate + half_roots_[k] * rotated(x - conjugate));
}

void RealFft::power(std::span<const double> frame, std::span<double> power,
                    Scratch& scratch) const {
  const Complex* z = load(frame, scratch);
  for (std::size_t k = 0; k < n_bins(); ++k) {
    const Complex x = bin(z, k);
    power[k] = x.re * x.re + x.im * x.im;
  }
}

void RealFft::forward(std::span<const double> frame, std::span<Complex> bins,
                      Scratch& scratch) const {
  const Complex* z = load(frame, scratch);
  for (std::size_t k = 0; k < n_bins(); ++k) bins[k] = bin(z, k);
}

// The conjugate of the transform of the conjugate, by the same split backwards.
void RealFft::inverse(std::span<const Complex> bins, std::span<double> frame,
                      Scratch& scratch) const {
  const auto conjugate = [](Complex a) { return Complex{a.re, -a.im}; };
  if (length_ == n_) {
    for (std::size_t k = 0; k < n_; ++k)
      scratch.a[k] = k < n_bins() ? conjugate(bins[k]) : bins[n_ - k];
    const Complex* z = transform(scratch);
    for (std::size_t k = 0; k < n_; ++k) frame[k] = z[k].re / static_cast<double>(n_);
    return;
  }
  for (std::size_t k = 0; k < length_; ++k) {
    const Complex mirror = conjugate(bins[length_ - k]);
    const Complex even = bins[k] + mirror;
    const Complex odd = conjugate(half_roots_[k]) * (bins[k] - mirror);
    scratch.a[k] = conjugate({even.re - odd.im, even.im + odd.re});
  }
  const Complex* z = transform(scratch);
  const double scale = 1.0 / static_cast<double>(n_);
  for (std::size_t k = 0; k < length_; ++k) {
    frame[2 * k] = z[k].re * scale;
    frame[2 * k + 1] = -z[k].im * scale;
  }
}

}  // namespace parley
