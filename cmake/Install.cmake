# What `cmake --install` puts where: headers, both libraries, the CMake package, vbuf.pc, licences.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

set(VBUF_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/vbuf)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(TARGETS vbuf_static vbuf_shared EXPORT vbufTargets)
install(EXPORT vbufTargets NAMESPACE vbuf:: DESTINATION ${VBUF_PACKAGE_DIR})
install(FILES LICENSE-MIT LICENSE-APACHE DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/vbufConfig.cmake.in vbufConfig.cmake
    INSTALL_DESTINATION ${VBUF_PACKAGE_DIR})
# Before 1.0 a minor version may break what the one before it promised.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/vbufConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES
    ${CMAKE_CURRENT_BINARY_DIR}/vbufConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/vbufConfigVersion.cmake
    cmake/ConcurrencyKit.cmake
    DESTINATION ${VBUF_PACKAGE_DIR})

# vbuf.pc finds its prefix from where it lies, so an installed tree can be moved.
set(VBUF_PC_DIR ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH VBUF_PC_LIBDIR ${VBUF_PC_DIR} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH VBUF_PC_INCLUDEDIR ${VBUF_PC_DIR} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
if(VBUF_WAIT STREQUAL "ck")
    set(VBUF_PC_PRIVATE " -lck")
endif()
if(VBUF_DEBUG)
    set(VBUF_PC_CFLAGS " -DVBUF_DEBUG")
endif()
configure_file(cmake/vbuf.pc.in vbuf.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vbuf.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
