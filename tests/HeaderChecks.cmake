# Every public header compiles alone, as C11 and as C++17, pedantically.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_SOURCE_DIR}/include/*.h)

function(vbuf_check_headers target language standard extension)
    set(sources "")
    foreach(header IN LISTS headers)
        string(MAKE_C_IDENTIFIER ${header} name)
        set(source ${CMAKE_CURRENT_BINARY_DIR}/headers/${name}.${extension})
        file(CONFIGURE OUTPUT ${source} CONTENT "#include <${header}>\n")
        list(APPEND sources ${source})
    endforeach()
    add_library(${target} OBJECT ${sources})
    vbuf_target_options(${target})
    target_compile_options(${target} PRIVATE -Wpedantic)
    set_target_properties(${target} PROPERTIES
        ${language}_STANDARD ${standard}
        ${language}_STANDARD_REQUIRED ON
        ${language}_EXTENSIONS OFF)
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
endfunction()

if(headers)
    vbuf_check_headers(vbuf_headers_c C 11 c)
    if(CMAKE_CXX_COMPILER_LOADED)
        vbuf_check_headers(vbuf_headers_cxx CXX 17 cpp)
    endif()
endif()
