#include "zlib_walk.h"

/* configuration_table of zlib's deflate.c; GNU gzip has the same. */
const rdk_zlib_effort rdk_zlib_efforts[10] = {
    {0, 0, 0, 0},    {4, 4, 8, 4},      {4, 5, 16, 8},     {4, 6, 32, 32},       {4, 4, 16, 16},
    {8, 16, 32, 32}, {8, 16, 128, 128}, {8, 32, 128, 256}, {32, 128, 258, 1024}, {32, 258, 258, 4096},
};

/* One variant for each hash, so that none is chosen in the inner loops. */
#define WALK(name) name##_hash3
#define WALK_HASH RDK_ZLIB_HASH3
#include "zlib_walk_template.h"

#define WALK(name) name##_hash3_any
#define WALK_HASH RDK_ZLIB_HASH3_ANY
#include "zlib_walk_template.h"

#define WALK(name) name##_hash4
#define WALK_HASH RDK_ZLIB_HASH4
#include "zlib_walk_template.h"

uint32_t rdk_zlib_lazy(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end) {
    switch (walk->hash) {
    case RDK_ZLIB_HASH3: return lazy_hash3(run, walk, from, to, end);
    case RDK_ZLIB_HASH4: return lazy_hash4(run, walk, from, to, end);
    default: return lazy_hash3_any(run, walk, from, to, end);
    }
}

uint32_t rdk_zlib_fast(rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to, uint32_t end) {
    switch (walk->hash) {
    case RDK_ZLIB_HASH3: return fast_hash3(run, walk, from, to, end);
    case RDK_ZLIB_HASH4: return fast_hash4(run, walk, from, to, end);
    default: return fast_hash3_any(run, walk, from, to, end);
    }
}

void rdk_zlib_fill(const rdk_run *run, rdk_zlib_walk *walk, uint32_t from, uint32_t to) {
    switch (walk->hash) {
    case RDK_ZLIB_HASH3: fill_hash3(run, &walk->chains, from, to); break;
    case RDK_ZLIB_HASH4: fill_hash4(run, &walk->chains, from, to); break;
    default: fill_hash3_any(run, &walk->chains, from, to);
    }
}

/* ---- without chains -------------------------------------------------------------------------------------------- */

uint32_t rdk_zlib_literals(rdk_run *run, uint32_t from, uint32_t to) {
    const uint32_t stop = to < run->stop ? to : run->stop;
    while (from < stop) from = rdk_emit_literals(run, from, stop);
    return from;
}

/* deflate_rle. */
uint32_t rdk_zlib_runs(rdk_run *run, uint32_t from, uint32_t to, uint32_t end) {
    const uint32_t stop = to < run->stop ? to : run->stop;
    while (from < stop) {
        uint32_t left = end - from, length = 0;
        if (left >= RDK_MATCH_MIN && run->offset + from > 0 && from > 0) {
            const uint8_t *scan = run->plain + from;
            length = rdk_equal_short(scan - 1, scan, left < RDK_MATCH_MAX ? left : RDK_MATCH_MAX);
        }
        from = length >= RDK_MATCH_MIN ? rdk_emit_match(run, from, length, 1) : rdk_emit_literal(run, from);
    }
    return from;
}
