#include "fluoropose/geometry/view.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>

namespace fluoropose {
namespace {

View good_view() { return {640, 480, {-319.5, -239.5, 0}, {1, 0, 0}, {0, 1, 0}, {10, -20, -1200}, Beam::kPoint}; }

// The message of the exception that validate throws; empty when it accepts the view.
std::string refusal(const View& view) {
  try {
    validate(view);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

TEST(View, AcceptsPointAndParallelBeams) {
  View view = good_view();
  EXPECT_EQ(refusal(view), "");
  view.beam = Beam::kParallel;
  view.source = {0, 0, 1};
  EXPECT_EQ(refusal(view), "");
}

TEST(View, RefusesAnEmptyImage) {
  for (const auto& [width, height] : {std::pair{0, 480}, {640, 0}, {-1, 480}}) {
    View view = good_view();
    view.width = width;
    view.height = height;
    EXPECT_NE(refusal(view).find("width and height"), std::string::npos);
  }
}

TEST(View, RefusesNumbersThatAreNotFiniteAndNamesTheField) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (int axis = 0; axis < 3; ++axis) {
      for (const auto& [field, name] : {std::pair{&View::origin, "origin"},
                                        {&View::u_step, "u_step"},
                                        {&View::v_step, "v_step"},
                                        {&View::source, "source"}}) {
        View view = good_view();
        Vec3<double>& v = view.*field;
        (axis == 0 ? v.x : axis == 1 ? v.y : v.z) = bad;
        EXPECT_NE(refusal(view).find(name), std::string::npos) << name << " axis " << axis;
      }
    }
  }
}

TEST(View, RefusesStepsThatSpanNoPlane) {
  View view = good_view();
  view.v_step = view.u_step * -2.0;
  EXPECT_NE(refusal(view).find("independent"), std::string::npos);
  view.v_step = {0, 0, 0};
  EXPECT_NE(refusal(view).find("independent"), std::string::npos);
}

TEST(View, RefusesASourceInTheImagePlane) {
  View view = good_view();
  view.source = {100, 50, 0};
  EXPECT_NE(refusal(view).find("view.source"), std::string::npos);
}

TEST(View, RefusesABeamAlongTheImagePlane) {
  View view = good_view();
  view.beam = Beam::kParallel;
  for (const Vec3<double>& direction : {Vec3<double>{1, 0, 0}, Vec3<double>{0, 0, 0}}) {
    view.source = direction;
    EXPECT_NE(refusal(view).find("beam"), std::string::npos);
  }
}

TEST(View, PlacesPixelCentres) {
  const Vec3<double> p = good_view().pixel_centre(2.5, -1);
  EXPECT_DOUBLE_EQ(p.x, -317.0);
  EXPECT_DOUBLE_EQ(p.y, -240.5);
  EXPECT_DOUBLE_EQ(p.z, 0.0);
}

}  // namespace
}  // namespace fluoropose
