// The distortion as float, double and ceres::Jet: values agree, derivatives are those of finite differences, and the
// inverse's derivatives are the inverse of the forward map's.
#include "fluoropose/distortion/distortion.h"

#include <ceres/jet.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace fluoropose {
namespace {

using Jet = ceres::Jet<double, 2>;

// Identity plus some of every term up to the third order; disc of radius 300 about (320, 300).
PlanePolynomial wavy() {
  PlanePolynomial p{3, {320, 300}, 300, std::vector<double>(10), std::vector<double>(10)};
  for (int k = 0; k < 10; ++k) {
    p.u[k] = 2.0 - 0.3 * k;
    p.v[k] = -1.0 + 0.25 * k;
  }
  p.u[0] += 320;
  p.v[0] += 300;
  p.u[4] += 300;  // T_1(x): terms are sorted by i, then by j
  p.v[1] += 300;  // T_1(y)
  return p;
}

Distortion wavy_distortion() {
  // The start of the inverse may be poor: here it is the map itself.
  return {wavy(), wavy()};
}

// Inside the disc, near its rim, and far outside.
const Vec2<double> kPlaces[] = {{320, 300}, {400, 250}, {110, 420}, {530, 505}, {700, -100}};

TEST(PlanePolynomial, FloatIsDoubleRounded) {
  const PlanePolynomial p = wavy();
  for (const Vec2<double>& at : kPlaces) {
    const Vec2<double> exact = p(at);
    const Vec2<float> rounded = p(Vec2<float>{static_cast<float>(at.x), static_cast<float>(at.y)});
    EXPECT_NEAR(rounded.x, exact.x, 1e-3);  // some units in the last place of a float near 700
    EXPECT_NEAR(rounded.y, exact.y, 1e-3);
  }
}

TEST(PlanePolynomial, JetsCarryItsDerivatives) {
  const PlanePolynomial p = wavy();
  constexpr double h = 1e-4;
  for (const Vec2<double>& at : kPlaces) {
    const Vec2<Jet> jet = p(Vec2<Jet>{Jet(at.x, 0), Jet(at.y, 1)});
    const Vec2<double> right = p(Vec2<double>{at.x + h, at.y}), left = p(Vec2<double>{at.x - h, at.y});
    const Vec2<double> down = p(Vec2<double>{at.x, at.y + h}), up = p(Vec2<double>{at.x, at.y - h});
    EXPECT_NEAR(jet.x.v[0], (right.x - left.x) / (2 * h), 1e-7);
    EXPECT_NEAR(jet.y.v[0], (right.y - left.y) / (2 * h), 1e-7);
    EXPECT_NEAR(jet.x.v[1], (down.x - up.x) / (2 * h), 1e-7);
    EXPECT_NEAR(jet.y.v[1], (down.y - up.y) / (2 * h), 1e-7);
    EXPECT_DOUBLE_EQ(jet.x.a, p(at).x);
  }
}

TEST(Distortion, TheInverseUndoesTheModelAndItsDerivatives) {
  const Distortion distortion = wavy_distortion();
  for (const Vec2<double>& at : kPlaces) {
    const Vec2<double> ideal = distortion.ideal_from_recorded(at);
    const Vec2<double> back = distortion.recorded_from_ideal(ideal);
    EXPECT_NEAR(back.x, at.x, 1e-8);
    EXPECT_NEAR(back.y, at.y, 1e-8);
    // There and back in Jets is the identity map: value and derivative.
    const Vec2<Jet> forth = distortion.ideal_from_recorded(Vec2<Jet>{Jet(at.x, 0), Jet(at.y, 1)});
    const Vec2<Jet> identity = distortion.recorded_from_ideal(forth);
    EXPECT_NEAR(identity.x.a, at.x, 1e-8);
    EXPECT_NEAR(identity.x.v[0], 1, 1e-9);
    EXPECT_NEAR(identity.x.v[1], 0, 1e-9);
    EXPECT_NEAR(identity.y.v[0], 0, 1e-9);
    EXPECT_NEAR(identity.y.v[1], 1, 1e-9);
  }
}

TEST(Distortion, NaNGivesNaN) {
  const Distortion distortion = wavy_distortion();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(distortion.ideal_from_recorded(Vec2<double>{nan, 3}).x));
  EXPECT_TRUE(std::isnan(distortion.recorded_from_ideal(Vec2<double>{3, nan}).x));
}

TEST(Distortion, RefusesWhatIsNoPolynomial) {
  for (const auto spoil : {+[](PlanePolynomial& p) { p.order = 0; }, +[](PlanePolynomial& p) { p.order = 16; },
                           +[](PlanePolynomial& p) { p.radius = 0; }, +[](PlanePolynomial& p) { p.u.pop_back(); },
                           +[](PlanePolynomial& p) { p.v[2] = std::numeric_limits<double>::infinity(); },
                           +[](PlanePolynomial& p) { p.centre.x = std::numeric_limits<double>::quiet_NaN(); }}) {
    PlanePolynomial p = wavy();
    spoil(p);
    EXPECT_THROW(Distortion(p, wavy()), std::invalid_argument);
    EXPECT_THROW(Distortion(wavy(), p), std::invalid_argument);
  }
}

}  // namespace
}  // namespace fluoropose
