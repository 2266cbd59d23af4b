/*
 * tbb.cpp - oneTBB's concurrent_vector under the loops that cvec runs.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "tbb.h"

#include <memory>

#include <oneapi/tbb/concurrent_vector.h>

#include "random.h"

/* The default allocator may keep memory, and then no vector would start with fresh pages. */
using vector_type = tbb::concurrent_vector<uint64_t, std::allocator<uint64_t>>;

static vector_type &self(void *vector)
{
    return *static_cast<vector_type *>(vector);
}

static const vector_type &self(const void *vector)
{
    return *static_cast<const vector_type *>(vector);
}

void *bench_tbb_create(void)
{
    return new vector_type;
}

void bench_tbb_destroy(void *vector)
{
    delete static_cast<vector_type *>(vector);
}

/* The iterator knows its index, but says it only by subtraction. */
static uint64_t index_of(const vector_type &v, vector_type::iterator at)
{
    return static_cast<uint64_t>(at - const_cast<vector_type &>(v).begin());
}

uint64_t bench_tbb_push(void *vector, uint64_t first, uint64_t count)
{
    vector_type &v = self(vector);
    uint64_t indices = 0;
    for (uint64_t i = 0; i < count; i++)
        indices += index_of(v, v.push_back(first + i));
    return indices;
}

uint64_t bench_tbb_push_blocks(void *vector, const uint64_t *block, uint64_t size, uint64_t blocks)
{
    vector_type &v = self(vector);
    uint64_t indices = 0;
    for (uint64_t i = 0; i < blocks; i++) {
        indices += index_of(v, v.push_back(block[0]));
        for (uint64_t j = 1; j < size; j++)
            v.push_back(block[j]);
    }
    return indices;
}

uint64_t bench_tbb_grow_blocks(void *vector, const uint64_t *block, uint64_t size, uint64_t blocks)
{
    vector_type &v = self(vector);
    uint64_t indices = 0;
    for (uint64_t i = 0; i < blocks; i++)
        indices += index_of(v, v.grow_by(block, block + size));
    return indices;
}

void bench_tbb_warm(void *vector, uint64_t count)
{
    vector_type &v = self(vector);
    v.grow_to_at_least(count);
    v.clear();
}

uint64_t bench_tbb_get(const void *vector, uint64_t seed, uint64_t count)
{
    const vector_type &v = self(vector);
    uint64_t n = v.size(), sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += v[bench_pick(&seed, n)];
    return sum;
}

uint64_t bench_tbb_sum(const void *vector)
{
    const vector_type &v = self(vector);
    uint64_t sum = 0;
    for (uint64_t value : v)
        sum += value;
    return sum;
}

uint64_t bench_tbb_len(const void *vector)
{
    return self(vector).size();
}
