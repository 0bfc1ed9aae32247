# For programs that use the library without Python: find_package(fluoropose), target fluoropose::fluoropose.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fluoropose)
install(TARGETS fluoropose fluoropose_embed EXPORT fluoroposeTargets COMPONENT development)
install(EXPORT fluoroposeTargets NAMESPACE fluoropose:: DESTINATION ${config_dir} COMPONENT development)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/fluoropose DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
  FILES_MATCHING PATTERN "*.h")
configure_package_config_file(${PROJECT_SOURCE_DIR}/cpp/fluoroposeConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/fluoroposeConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/fluoroposeConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fluoroposeConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/fluoroposeConfigVersion.cmake
  DESTINATION ${config_dir} COMPONENT development)
