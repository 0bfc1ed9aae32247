#include <cstdio>
#include <stdexcept>

#include "fluoropose/geometry/view.h"

int main() {
  using fluoropose::Beam;
  fluoropose::View view{64, 48, {-31.5, -23.5, 0}, {1, 0, 0}, {0, 1, 0}, {0, 0, -1000}, Beam::kPoint};
  fluoropose::validate(view);
  if (!fluoropose::in_front_of_source(view, {0, 0, -500})) return 1;

  view.source = {0, 0, 0};  // in the image plane: must be refused
  try {
    fluoropose::validate(view);
  } catch (const std::invalid_argument& error) {
    std::printf("refused as it should be: %s\n", error.what());
    return 0;
  }
  return 1;
}
