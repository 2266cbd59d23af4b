/*
 * trace.c - a run told step by step: the thread, the line of source that took the step, what it was.
 *
 * Places are noted as addresses of code; addr2line, of the binutils, says afterwards where they are. Of a
 * chain of inlined calls the innermost outside the headers of atomics and fences is told.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"

#define MOST_LINES 1000

struct line {
    void *caller;
    unsigned thread;
    char text[128];
};

struct lines {
    unsigned count, left_out;
    struct line of[MOST_LINES];
};

void trace_start(void)
{
    if (engine->lines == NULL)
        engine->lines = calloc(1, sizeof *engine->lines);
    if (engine->lines == NULL)
        abort();
    engine->lines->count = engine->lines->left_out = 0;
}

void trace(void *caller, const char *format, ...)
{
    if (engine == NULL || !engine->tracing)
        return;
    struct lines *lines = engine->lines;
    if (lines->count == MOST_LINES) { /* a livelock goes on as it began; its last line counts */
        lines->count--;
        lines->left_out++;
    }
    struct line *line = &lines->of[lines->count++];
    line->caller = (char *)caller - 1; /* in the call, not after it */
    line->thread = explore_self();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line->text, sizeof line->text, format, arguments);
    va_end(arguments);
}

static bool is_dull(const char *place)
{
    static const char *const dull[] = {"/atomic.h:", "/fence.h:", "/seam_", "/explorer/", "??"};
    for (size_t i = 0; i < sizeof dull / sizeof *dull; i++) {
        if (strstr(place, dull[i]) != NULL)
            return true;
    }
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The source line at `file:line`, or nothing. */
static void read_source(const char *place, char *text, size_t size)
{
    char path[512];
    text[0] = '\0';
    const char *colon = strrchr(place, ':');
    if (colon == NULL || (size_t)(colon - place) >= sizeof path)
        return;
    memcpy(path, place, (size_t)(colon - place));
    path[colon - place] = '\0';
    long number = strtol(colon + 1, NULL, 10);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return;
    while (number-- > 0 && fgets(text, (int)size, file) != NULL) {
    }
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    memmove(text, text + strspn(text, " \t"), strlen(text + strspn(text, " \t")) + 1);
}

static void print_line(const struct line *line, const char *place)
{
    char source[256];
    read_source(place, source, sizeof source);
    printf("  T%u  %-24s %-58s | %.70s\n", line->thread, base_name(place), line->text, source);
}

/* addr2line's answer to one address: a line `0x…`, then a place for each level of inlining. */
static void choose_place(FILE *answers, char *next, size_t size, char *place)
{
    place[0] = '\0';
    while (fgets(next, (int)size, answers) != NULL && strncmp(next, "0x", 2) != 0) {
        next[strcspn(next, " \n")] = '\0'; /* what follows a blank is a discriminator */
        if (place[0] == '\0' && !is_dull(next))
            strcpy(place, next);
    }
}

void trace_print(void)
{
    const struct lines *lines = engine->lines;
    char list[] = "/tmp/explore-XXXXXX", command[256], next[512], place[512];
    int file = mkstemp(list);
    FILE *addresses = file >= 0 ? fdopen(file, "w") : NULL;
    if (addresses == NULL)
        return;
    for (unsigned i = 0; i < lines->count; i++)
        fprintf(addresses, "%p\n", lines->of[i].caller);
    fclose(addresses);
    snprintf(command, sizeof command, "addr2line -a -i -e /proc/%d/exe <%s", (int)getpid(), list);
    FILE *answers = popen(command, "r");
    if (answers != NULL && fgets(next, sizeof next, answers) != NULL) {
        for (unsigned i = 0; i < lines->count; i++) {
            choose_place(answers, next, sizeof next, place);
            if (lines->left_out != 0 && i + 1 == lines->count)
                printf("  ... and so on, %u steps more\n", lines->left_out);
            print_line(&lines->of[i], place);
        }
    }
    if (answers != NULL)
        pclose(answers);
    unlink(list);
    fflush(stdout);
}
