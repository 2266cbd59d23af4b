# The canaries: each fault must be reported, and the report must turn a test red.
#
# canary.NAME         passes iff the program prints the report that belongs to its fault.
# canary.NAME.verdict runs the same program with the properties every test has, and passes iff CTest
#                     calls that a failure.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

function(vbuf_add_canary name report)
    vbuf_add_test(canary.${name} COMMAND ${ARGN})
    set_property(TEST canary.${name} PROPERTY FAIL_REGULAR_EXPRESSION)
    set_property(TEST canary.${name} PROPERTY PASS_REGULAR_EXPRESSION "${report}")
    vbuf_add_test(canary.${name}.verdict COMMAND ${ARGN})
    set_property(TEST canary.${name}.verdict PROPERTY WILL_FAIL TRUE)
endfunction()

# A fault that both forms must report.
function(vbuf_add_canary_forms fault report)
    vbuf_plain_program(canary_${fault}_plain canary/${fault}.c)
    vbuf_add_canary(plain.${fault} "${report}" canary_${fault}_plain)
    if(VBUF_CRITERION)
        vbuf_criterion_program(canary_${fault} canary/${fault}.c)
        vbuf_add_canary(unit.${fault} "${report}" canary_${fault} --jobs 1)
    endif()
endfunction()

vbuf_add_canary_forms(check "check failed: 1 \\+ 1 == 3")
vbuf_add_canary_forms(thread_check
    "check failed: -1 == UINT64_MAX: -1 and 18446744073709551615")

vbuf_plain_program(canary_nothing_plain canary/nothing.c)
vbuf_add_canary(plain.nothing "0 passed, 0 failed" canary_nothing_plain --filter nowhere)
if(VBUF_CRITERION)
    vbuf_criterion_program(canary_nothing canary/nothing.c)
    vbuf_add_canary(unit.nothing "Tested: 0 " canary_nothing --filter nowhere/*)
endif()

if(TARGET vbuf_stress)
    vbuf_add_canary(stress "canary: broken: value 7 changed after its unpin"
        vbuf_stress --case canary --seed 1)
    vbuf_add_canary(stress.hang "canary-hang: broken: no progress for"
        vbuf_stress --case canary-hang --seconds 1 --seed 1)
endif()

if(TARGET vbuf_model)
    vbuf_add_canary(model "canary.c:[0-9]+: vbuf_u32_load_relaxed\\(&counter\\) == 2"
        vbuf_model --scenario canary.lost-update)
endif()
if(VBUF_COMPLETE AND VBUF_VALGRIND)
    vbuf_plain_program(canary_memcheck canary/unwritten.c)
    vbuf_add_canary(memcheck "depends on uninitialised value" ${VBUF_VALGRIND} --quiet --error-exitcode=9
        $<TARGET_FILE:canary_memcheck>)
endif()
if(VBUF_SANITIZE STREQUAL "address")
    vbuf_add_canary_forms(use_after_free "AddressSanitizer: heap-use-after-free")
    vbuf_add_canary_forms(overrun "AddressSanitizer: use-after-poison")
    vbuf_add_canary_forms(leak "LeakSanitizer: detected memory leaks")
    vbuf_add_canary_forms(shift "runtime error: shift exponent 40 is too large")
elseif(VBUF_SANITIZE STREQUAL "thread")
    vbuf_add_canary_forms(race "ThreadSanitizer: data race")
endif()
