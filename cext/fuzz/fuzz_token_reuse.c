/* Rebuilding with the tokens of an older stream, or by a token delta against it, gives the bits of rebuilding alone,
 * whatever was edited between the two. A damaged delta does no harm. */
#include <stdlib.h>
#include <string.h>

#include "reducto_kernel.h"

enum { OLD_BYTES = 200000, EDITS_MAX = 64, EDIT_BYTES = 4 };

typedef struct stream {
    uint8_t *plain, *wire;
    uint32_t length;
    uint64_t bits;
} stream;

static void compress(stream *s, int model) {
    rdk_segment segment = {
        .plain = s->plain, .length = s->length, .stop = s->length, .ends = 1, .last = 1, .model = model};
    size_t capacity = 2 * (size_t)s->length + 4096;
    s->wire = calloc(1, capacity);
    if (rdk_segment_rebuild(&segment, (const uint8_t *)"", 0, s->wire, capacity, &s->bits) != RDK_OK) abort();
}

/* Words out of the fuzzer's bytes, so that matches of all lengths and distances abound. */
static void make_old(stream *old, const uint8_t *data, size_t size) {
    uint32_t state = 1;
    old->length = OLD_BYTES;
    old->plain = malloc(OLD_BYTES);
    for (uint32_t at = 0; at < OLD_BYTES;) {
        state = state * 1664525u + 1013904223u;
        uint32_t from = (state >> 8) % (uint32_t)size, count = 1 + (state >> 28) + (data[from] & 31);
        for (uint32_t i = 0; i < count && at < OLD_BYTES; i++) old->plain[at++] = data[(from + i) % size];
        if ((state & 0xf0) == 0 && at < OLD_BYTES) old->plain[at++] = (uint8_t)(state >> 16);
    }
}

/* Edits: replaced bytes, removed bytes, added bytes. What lies between two edits that change the length is an aligned
 * range. Returns their number. */
static size_t make_new(stream *new, const stream *old, const uint8_t *edits, size_t count, rdk_aligned_range *out) {
    uint32_t at = 0, from = 0;
    size_t ranges = 0;
    new->plain = malloc(OLD_BYTES + EDITS_MAX * 256);
    out[0] = (rdk_aligned_range){0, 0, 0};
    for (size_t i = 0; i <= count; i++) {
        const uint8_t *e = edits + i * EDIT_BYTES;
        uint32_t to = i < count ? from + (e[0] | (uint32_t)(e[1] & 0x7f) << 8) : OLD_BYTES;
        if (to > OLD_BYTES) to = OLD_BYTES;
        memcpy(new->plain + at, old->plain + from, to - from);
        at += to - from;
        from = to;
        if (i == count) break;
        uint32_t much = e[3], space = OLD_BYTES - from;
        if (e[1] & 0x80) { /* replaced */
            if (much > space) much = space;
            for (uint32_t k = 0; k < much; k++) new->plain[at++] = (uint8_t)(old->plain[from++] ^ (k % 3 ? 0 : e[2]));
            continue;
        }
        out[ranges].length = at - out[ranges].offset;
        ranges++;
        if (e[2] & 1) from += much > space ? space : much;
        else
            for (uint32_t k = 0; k < much; k++) new->plain[at++] = (uint8_t)(e[2] + (k & e[2] ? k : 0));
        out[ranges] = (rdk_aligned_range){at, from, 0};
    }
    out[ranges].length = at - out[ranges].offset;
    new->length = at;
    return ranges + 1;
}

static void rebuild_by_delta(const rdk_segment *segment, const stream *new, rdk_donor_range *donors, size_t count,
                             uint8_t *wire, size_t capacity, const uint8_t *damage, size_t damages) {
    size_t space = new->length + 64;
    uint32_t *tokens = malloc(space * sizeof *tokens);
    uint8_t *delta = malloc(4 * space);
    uint64_t copied = 0, bits = 0;
    int64_t token_count = rdk_segment_tokens(new->wire, (size_t)((new->bits + 7) / 8), 0, new->length, tokens, space);
    if (token_count < 0) abort();
    for (size_t i = 0; i < count; i++) donors[i].plain = NULL;
    int64_t length = rdk_token_delta(0, tokens, (size_t)token_count, donors, count, delta, 4 * space, &copied);
    if (length < 0 || copied > new->length) abort();
    memset(wire, 0, capacity);
    if (rdk_segment_rebuild_by_delta(segment, donors, count, delta, (size_t)length, wire, capacity, &bits) != RDK_OK)
        abort();
    if (bits != new->bits || memcmp(wire, new->wire, (size_t)((bits + 7) / 8)) != 0) abort();
    for (size_t i = 0; length && i + 1 < damages; i += 2) {
        delta[(damage[i] * 251u) % (uint64_t)length] = damage[i + 1];
        rdk_segment_rebuild_by_delta(segment, donors, count, delta, (size_t)length, wire, capacity, &bits);
    }
    free(tokens);
    free(delta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int models[] = {0x0104, 0x0105, 0x0106, 0x0107, 0x0108, 0x0109};
    rdk_aligned_range ranges[EDITS_MAX + 1];
    rdk_donor_range donors[EDITS_MAX + 1];
    stream old, new;
    if (size < 16) return 0;
    int model = models[data[0] % 6];
    size_t edits = data[1] % EDITS_MAX, most = (size - 8) / EDIT_BYTES;
    if (edits > most) edits = most;
    make_old(&old, data, size);
    size_t count = make_new(&new, &old, data + 4, edits, ranges);
    compress(&old, model);
    compress(&new, model);
    uint32_t *tokens = malloc((old.length + 64) * sizeof *tokens);
    int64_t token_count =
        rdk_segment_tokens(old.wire, (size_t)((old.bits + 7) / 8), 0, old.length, tokens, old.length + 64);
    if (token_count < 0) abort();
    for (size_t i = 0; i < count; i++) {
        const rdk_aligned_range *p = &ranges[i];
        donors[i] = (rdk_donor_range){old.plain + p->donor_offset,
                                      (uint32_t)p->offset,
                                      (uint32_t)(p->offset + p->length),
                                      p->donor_offset,
                                      tokens,
                                      (size_t)token_count,
                                      (int64_t)p->offset - (int64_t)p->donor_offset};
    }
    rdk_segment segment = {
        .plain = new.plain, .length = new.length, .stop = new.length, .ends = 1, .last = 1, .model = model};
    size_t capacity = 2 * (size_t)new.length + 4096;
    uint8_t *wire = calloc(1, capacity);
    uint64_t bits = 0;
    if (rdk_segment_rebuild_reusing(&segment, donors, count, wire, capacity, &bits) != RDK_OK) abort();
    if (bits != new.bits || memcmp(wire, new.wire, (size_t)((bits + 7) / 8)) != 0) abort();
    rebuild_by_delta(&segment, &new, donors, count, wire, capacity, data + 4, size - 4 < 8 ? size - 4 : 8);
    free(old.plain);
    free(old.wire);
    free(new.plain);
    free(new.wire);
    free(tokens);
    free(wire);
    return 0;
}
