#include "fluoropose/distortion/distortion.h"

#include <ceres/jet.h>

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

namespace fluoropose {
namespace {

constexpr int kMaxSteps = 20;
constexpr double kConvergedPx = 1e-9;

bool finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
}

}  // namespace

void validate(const PlanePolynomial& p) {
  if (p.order < 1 || p.order > kMaxPolynomialOrder)
    throw std::invalid_argument("order: expected 1 to " + std::to_string(kMaxPolynomialOrder) + ", found " +
                                std::to_string(p.order));
  if (!std::isfinite(p.centre.x) || !std::isfinite(p.centre.y))
    throw std::invalid_argument("centre: expected finite pixels");
  if (!(std::isfinite(p.radius) && p.radius > 0))
    throw std::invalid_argument("radius: expected a positive number of pixels");
  const auto terms = static_cast<std::size_t>(polynomial_terms(p.order));
  if (p.u.size() != terms || p.v.size() != terms)
    throw std::invalid_argument("coefficients: expected 2 x " + std::to_string(terms) + " for order " +
                                std::to_string(p.order) + ", found " + std::to_string(p.u.size()) + " and " +
                                std::to_string(p.v.size()));
  if (!finite(p.u) || !finite(p.v)) throw std::invalid_argument("coefficients: expected finite numbers");
}

Distortion::Inverse Distortion::invert(const Vec2<double>& ideal_px) const {
  using Jet = ceres::Jet<double, 2>;
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  Inverse result{{nan, nan}, {nan, nan}, {nan, nan, nan, nan}};
  Vec2<double> guess = backward_(ideal_px);
  for (int step = 0; step < kMaxSteps; ++step) {
    const Vec2<Jet> at = forward_(Vec2<Jet>{Jet(guess.x, 0), Jet(guess.y, 1)});
    const double a = at.x.v[0], b = at.x.v[1], c = at.y.v[0], d = at.y.v[1];
    const double determinant = a * d - b * c;
    // A fold of the model, or NaN.
    if (!(determinant > 0)) return result;
    const double miss_u = ideal_px.x - at.x.a, miss_v = ideal_px.y - at.y.a;
    if (std::abs(miss_u) + std::abs(miss_v) < kConvergedPx)
      return {guess, {at.x.a, at.y.a}, {d / determinant, -b / determinant, -c / determinant, a / determinant}};
    guess = {guess.x + (d * miss_u - b * miss_v) / determinant, guess.y + (a * miss_v - c * miss_u) / determinant};
  }
  return result;
}

}  // namespace fluoropose
