/*
 * json.c - the results for programs, and the facts about the machine that both need.
 *
 * {"machine": {...}, "results": [{"case", "impl", "n", "threads", "unit", "memory", "min", "med",
 * "max"}]}
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/utsname.h>

#include <vbuf/fence.h>
#include <vbuf/vmem.h>

#if !defined(VBUF_BENCH_LIBRARY)
#define VBUF_BENCH_LIBRARY "unknown"
#endif

#if defined(__clang__)
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* What follows `key`, blanks and a colon in a file of such lines; or `otherwise`. */
static const char *read_fact(const char *path, const char *key, const char *otherwise)
{
    static char line[512];
    const char *found = otherwise;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return otherwise;
    while (found == otherwise && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *value = line + strlen(key);
        value += strspn(value, " \t:");
        line[strcspn(line, "\n")] = '\0';
        found = value;
    }
    fclose(file);
    return found;
}

static void print_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(file, "\\%c", c);
        else if (c < 0x20)
            fprintf(file, "\\u%04x", c);
        else
            fputc(c, file);
    }
    fputc('"', file);
}

static void print_fact(FILE *file, const char *name, const char *value)
{
    fprintf(file, "    \"%s\": ", name);
    print_string(file, value);
    fprintf(file, ",\n");
}

static const char *fence_name(void)
{
    return vbuf_fence_kind() == VBUF_FENCE_PROCESS_WIDE ? "process-wide" : "full";
}

static void print_machine_json(FILE *file, const struct bench_settings *settings)
{
    struct utsname system;
    uname(&system);
    fprintf(file, "  \"machine\": {\n");
    print_fact(file, "cpu", read_fact("/proc/cpuinfo", "model name", system.machine));
    fprintf(file, "    \"cores\": %u,\n", settings->cores);
    fprintf(file, "    \"page_size\": %zu,\n", vmem_page_size());
    print_fact(file, "huge_pages",
               read_fact("/sys/kernel/mm/transparent_hugepage/enabled", "", "unknown"));
    print_fact(file, "system", system.sysname);
    print_fact(file, "kernel", system.release);
    print_fact(file, "architecture", system.machine);
    print_fact(file, "compiler", COMPILER);
    print_fact(file, "fence", fence_name());
    print_fact(file, "library", VBUF_BENCH_LIBRARY);
    fprintf(file, "    \"quick\": %s,\n", settings->quick ? "true" : "false");
    fprintf(file, "    \"rounds\": %u,\n", settings->rounds);
    fprintf(file, "    \"round_ms\": %g\n  },\n", settings->round_ns / 1e6);
}

static void print_result_json(FILE *file, const struct bench_result *result)
{
    fprintf(file, "    {\"case\": ");
    print_string(file, result->of->name);
    fprintf(file, ", \"impl\": ");
    print_string(file, result->impl);
    fprintf(file, ", \"n\": %" PRIu64 ", \"threads\": %u, \"unit\": ", result->shape.n,
            result->shape.threads);
    print_string(file, result->of->unit);
    fprintf(file, ", \"memory\": ");
    print_string(file, result->of->memory);
    fprintf(file, ", \"min\": %.4f, \"med\": %.4f, \"max\": %.4f}", result->min, result->med,
            result->max);
}

bool bench_write_json(const char *path, const struct bench_results *results,
                      const struct bench_settings *settings)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (file == NULL) {
        fprintf(stderr, "vbuf_bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(file, "{\n");
    print_machine_json(file, settings);
    fprintf(file, "  \"results\": [\n");
    for (size_t i = 0; i < results->count; i++) {
        print_result_json(file, &results->list[i]);
        fprintf(file, i + 1 < results->count ? ",\n" : "\n");
    }
    fprintf(file, "  ]\n}\n");
    bool written = !ferror(file);
    if (file != stdout && fclose(file) != 0)
        written = false;
    if (!written)
        fprintf(stderr, "vbuf_bench: %s: cannot write\n", path);
    return written;
}

void bench_print_machine(FILE *file, const struct bench_settings *settings)
{
    struct utsname system;
    uname(&system);
    fprintf(file, "%s, %u cores; %s %s; %s\n",
            read_fact("/proc/cpuinfo", "model name", system.machine), settings->cores,
            system.sysname, system.release, COMPILER);
    fprintf(file, "%s library, %s fence; %u rounds of %g ms and more, interleaved\n",
            VBUF_BENCH_LIBRARY, fence_name(), settings->rounds, settings->round_ns / 1e6);
}
