# ck::ck, if Concurrency Kit is installed. Not by pkg-config: its file defines a processor macro.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
if(TARGET ck::ck)
    return()
endif()

find_library(VBUF_CK_LIBRARY ck)
find_path(VBUF_CK_INCLUDE_DIR ck_ec.h)
mark_as_advanced(VBUF_CK_LIBRARY VBUF_CK_INCLUDE_DIR)

if(VBUF_CK_LIBRARY AND VBUF_CK_INCLUDE_DIR)
    add_library(ck::ck UNKNOWN IMPORTED GLOBAL)
    set_target_properties(ck::ck PROPERTIES
        IMPORTED_LOCATION ${VBUF_CK_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${VBUF_CK_INCLUDE_DIR})
endif()
