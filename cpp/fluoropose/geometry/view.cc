#include "fluoropose/geometry/view.h"

#include <stdexcept>

namespace fluoropose {
namespace {

bool finite(const Vec3<double>& v) { return std::isfinite(v.x) && std::isfinite(v.y) && std::isfinite(v.z); }

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

}  // namespace

void validate(const View& view) {
  require(view.width > 0 && view.height > 0, "view: width and height must be positive");
  require(finite(view.origin), "view.origin: must be finite");
  require(finite(view.u_step) && finite(view.v_step), "view.u_step, view.v_step: must be finite");
  require(finite(view.source), "view.source: must be finite");
  const Vec3<double> normal = cross(view.u_step, view.v_step);
  const double scale = norm(view.u_step) * norm(view.v_step);
  require(scale > 0 && norm(normal) > 1e-6 * scale, "view.u_step, view.v_step: must be independent and non-zero");
  const Vec3<double> beam = view.beam == Beam::kPoint ? view.origin - view.source : view.source;
  require(std::abs(dot(beam, normal)) > 1e-9 * norm(normal) * norm(beam),
          view.beam == Beam::kPoint ? "view.source: must not lie in the image plane"
                                    : "view.source: the beam's direction must not be parallel to the image plane");
}

}  // namespace fluoropose
