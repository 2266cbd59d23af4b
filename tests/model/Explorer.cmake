# vbuf_model: the library's own sources under the schedule explorer.
#
#   explorer/*.c     the explorer, compiled as any program
#   scenarios/*.c    compiled as the library is
#   the library      with atomic.h's and fence.h's seams, and with the race instrumentation, whose calls the
#                    explorer takes; what talks to the system is the explorer's
#
# SPDX-License-Identifier: MIT OR Apache-2.0

file(GLOB engine CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/explorer/*.c)
file(GLOB scenarios CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/scenarios/*.c)
set(explored ${VBUF_SOURCES})
list(FILTER explored EXCLUDE REGEX "src/(system|fence|wait)_.*")
list(TRANSFORM explored PREPEND "${PROJECT_SOURCE_DIR}/")

# Without position independence addr2line finds its way in traces.
set(explorer_options -fno-pie -U_FORTIFY_SOURCE -g -Wno-ignored-qualifiers)
set(instrumentation -O1 -fsanitize=thread)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND instrumentation --param=tsan-instrument-func-entry-exit=0)
endif()

add_library(vbuf_explorer OBJECT ${engine})
add_library(vbuf_explored OBJECT ${explored} ${scenarios})
target_compile_options(vbuf_explored PRIVATE ${instrumentation}
    "SHELL:-include ${CMAKE_CURRENT_LIST_DIR}/explorer/seam_libc.h")
foreach(target vbuf_explorer vbuf_explored)
    vbuf_program_options(${target})
    target_compile_options(${target} PRIVATE ${explorer_options})
    target_compile_definitions(${target} PRIVATE
        VBUF_ATOMIC_SEAM="seam_atomic.h" VBUF_FENCE_SEAM="seam_fence.h")
    target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/explorer
        ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
endforeach()

add_executable(vbuf_model $<TARGET_OBJECTS:vbuf_explorer> $<TARGET_OBJECTS:vbuf_explored>)
target_link_options(vbuf_model PRIVATE -no-pie)
target_link_libraries(vbuf_model PRIVATE Threads::Threads)
