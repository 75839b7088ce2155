# What `cmake --install` puts where, and how others find it: find_package(Keel) gives keel::core (the runtime to embed),
# keel::abi (a module's headers), keel::shim (a module's heap) and keel_add_module(); pkg-config knows keel-core
# and keel-module.
include(CMakePackageConfigHelpers)

add_library(keel_core_shared SHARED)
set_target_properties(keel_core_shared PROPERTIES
  OUTPUT_NAME keel-core VERSION 1.${PROJECT_VERSION} SOVERSION 1 EXPORT_NAME core)
target_link_libraries(keel_core_shared PRIVATE keel_core_objects PUBLIC keel_abi)
target_include_directories(keel_core_shared INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/host/include>)
target_link_options(keel_core_shared PRIVATE -Wl,--exclude-libs,ALL)
if(NOT KEEL_SANITIZE)
  target_link_options(keel_core_shared PRIVATE -Wl,-z,defs)
endif()
add_library(keel::core ALIAS keel_core_shared)

set_target_properties(keel_abi PROPERTIES EXPORT_NAME abi)
set_target_properties(keel_shim PROPERTIES EXPORT_NAME shim)
install(TARGETS keel_abi keel_shim keel_core_shared EXPORT KeelTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/abi/keel ${PROJECT_SOURCE_DIR}/host/include/keel
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(TARGET keel)
  install(TARGETS keel DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET keel-trial)
  install(TARGETS keel-trial keel-decode DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/keel)
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Keel)
install(EXPORT KeelTargets NAMESPACE keel:: DESTINATION ${package})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/KeelConfig.cmake.in KeelConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(KeelConfigVersion.cmake VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/KeelConfig.cmake ${PROJECT_BINARY_DIR}/KeelConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/KeelModule.cmake ${CMAKE_CURRENT_LIST_DIR}/keel-module.map DESTINATION ${package})
# The build folder is a package, too: -DKeel_DIR=<build folder>.
export(EXPORT KeelTargets NAMESPACE keel:: FILE ${PROJECT_BINARY_DIR}/KeelTargets.cmake)
configure_file(${CMAKE_CURRENT_LIST_DIR}/KeelModule.cmake ${PROJECT_BINARY_DIR}/KeelModule.cmake COPYONLY)
configure_file(${CMAKE_CURRENT_LIST_DIR}/keel-module.map ${PROJECT_BINARY_DIR}/keel-module.map COPYONLY)

# ${pcfiledir}: an installed tree may be moved.
file(RELATIVE_PATH prefix_from_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
set(shim_file)
get_target_property(shim_type keel_shim TYPE)
if(shim_type STREQUAL "STATIC_LIBRARY")
  set(shim_file "\${libdir}/$<TARGET_FILE_NAME:keel_shim>")
endif()
list(JOIN KEEL_MODULE_COMPILE_OPTIONS " " module_cflags)
list(JOIN KEEL_MODULE_LINK_OPTIONS " " module_libs)
string(REPLACE "${CMAKE_CURRENT_LIST_DIR}/keel-module.map" "\${libdir}/cmake/Keel/keel-module.map" module_libs "${module_libs}")
list(JOIN KEEL_MODULE_LINK_OPTIONS_CXX " " module_libs_cxx)
foreach(name keel-core keel-module)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${name}.pc.in ${name}.pc.gen @ONLY)
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/${name}.pc INPUT ${PROJECT_BINARY_DIR}/${name}.pc.gen)
  install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
