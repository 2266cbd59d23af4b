/*
 * status_test.c - the statuses: values, names.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "vbuf/status.h"

#include <string.h>

#include "check.h"

TEST(status, ok_is_zero)
{
    CHECK_EQ(VBUF_OK, 0);
}

TEST(status, string_is_the_name_in_lower_case)
{
    CHECK_STR("ok", vbuf_status_string(VBUF_OK));
    CHECK_STR("invalid", vbuf_status_string(VBUF_INVALID));
    CHECK_STR("full", vbuf_status_string(VBUF_FULL));
    CHECK_STR("nomem", vbuf_status_string(VBUF_NOMEM));
    CHECK_STR("stale", vbuf_status_string(VBUF_STALE));
    CHECK_STR("busy", vbuf_status_string(VBUF_BUSY));
    CHECK_STR("timedout", vbuf_status_string(VBUF_TIMEDOUT));
    CHECK_STR("unsupported", vbuf_status_string(VBUF_UNSUPPORTED));
    CHECK_STR("closed", vbuf_status_string(VBUF_CLOSED));
}

TEST(status, strings_differ)
{
    for (int a = VBUF_OK; a <= VBUF_CLOSED; a++) {
        for (int b = VBUF_OK; b < a; b++) {
            CHECK(strcmp(vbuf_status_string((enum vbuf_status)a),
                         vbuf_status_string((enum vbuf_status)b)) != 0);
        }
    }
}

TEST(status, string_of_no_status_is_a_string)
{
    /* Through memory: a converted constant might be judged by the compiler. */
    enum vbuf_status strange;
    int number = VBUF_CLOSED + 1;
    memcpy(&strange, &number, sizeof strange);
    CHECK(vbuf_status_string(strange) != NULL);
    CHECK(strlen(vbuf_status_string(strange)) > 0);
}

TEST(status, string_is_static)
{
    CHECK(vbuf_status_string(VBUF_NOMEM) == vbuf_status_string(VBUF_NOMEM));
}
