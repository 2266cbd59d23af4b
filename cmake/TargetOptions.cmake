# How everything of ours is compiled: warnings are errors, plus the sanitizer this build asks for.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

set(VBUF_WARNINGS -Wall -Wextra -Wconversion -Wshadow -Werror)

if(VBUF_SANITIZE STREQUAL "")
    set(VBUF_SANITIZE_FLAGS "")
elseif(VBUF_SANITIZE STREQUAL "address")
    set(VBUF_SANITIZE_FLAGS
        -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(VBUF_SANITIZE STREQUAL "thread")
    if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "VBUF_SANITIZE=thread needs clang, not ${CMAKE_C_COMPILER_ID}")
    endif()
    set(VBUF_SANITIZE_FLAGS -fsanitize=thread -fno-omit-frame-pointer)
else()
    message(FATAL_ERROR "VBUF_SANITIZE is \"${VBUF_SANITIZE}\": not empty, address or thread")
endif()

function(vbuf_target_options target)
    target_compile_options(${target} PRIVATE ${VBUF_WARNINGS} ${VBUF_SANITIZE_FLAGS})
    target_link_options(${target} PRIVATE ${VBUF_SANITIZE_FLAGS})
endfunction()

# A program: a test, a benchmark, an example. They use POSIX freely, hence the gnu dialect; and a
# failure names the file as the repository does.
function(vbuf_program_options target)
    vbuf_target_options(${target})
    target_compile_options(${target} PRIVATE "-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=")
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11
        C_STANDARD_REQUIRED ON
        C_EXTENSIONS ON
        CXX_STANDARD 17
        CXX_STANDARD_REQUIRED ON)
endfunction()
