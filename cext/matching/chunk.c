#include "chunk.h"
#include "gear_table.h"

/* Frozen, as everything that boundaries of stored corpora depend on. */
enum {
    GEAR_WINDOW = 64,   /* bytes that one Gear hash sees: a state of 64 bits, shifted by one for each byte */
    LINE_REACH = 256,   /* a boundary in text moves at most this far to reach a line start */
    LARGE_BITS_MAX = 40 /* more would never occur: a boundary for 1 TiB */
};

/* Two bits more and two bits less are FastCDC's normalised chunking at level 2; docs/adr/0003 has the measurements
 * behind the other numbers. */
int rdk_chunk_defaults(uint32_t average_bits, rdk_chunk_params *params) {
    if (params == NULL || average_bits < 10 || average_bits > 20) return RDK_E_ARGUMENT;
    params->min_length = 1u << (average_bits - 1);
    params->normal_length = 3u << (average_bits - 2);
    params->max_length = 1u << (average_bits + 3);
    params->early_bits = (uint8_t)(average_bits + 2);
    params->late_bits = (uint8_t)(average_bits - 2);
    params->large_bits = (uint8_t)(average_bits + 4);
    params->lean_to_lines = 1;
    return RDK_OK;
}

int rdk_chunk_params_valid(const rdk_chunk_params *p) {
    return p != NULL && p->min_length >= GEAR_WINDOW && p->min_length <= p->normal_length &&
           p->normal_length <= p->max_length && p->late_bits >= 1 && p->late_bits <= p->early_bits &&
           p->early_bits <= p->large_bits && p->large_bits <= LARGE_BITS_MAX;
}

/* Returns the hash of GEAR_WINDOW bytes. */
static uint64_t gear_warm(const uint8_t *data) {
    uint64_t hash = 0;
    for (unsigned i = 0; i < GEAR_WINDOW; i++) hash = (hash << 1) + RDK_GEAR[data[i]];
    return hash;
}

/* Returns the first position in [from, to) after whose byte the hash is at most `limit`, that is, begins with enough
 * zero bits; `to` if there is none. data[from - GEAR_WINDOW] must be readable. *found becomes the hash at the position.
 * Two bytes advance the hash at once, which halves the chain of dependent steps, and eight share one test. */
static size_t gear_scan(const uint8_t *data, size_t from, size_t to, uint64_t limit, uint64_t *found) {
    uint64_t hash = gear_warm(data + from - GEAR_WINDOW);
    size_t at = from;
    for (; to - at >= 8; at += 8) {
        uint64_t before = hash, least = UINT64_MAX;
        for (unsigned i = 0; i < 8; i += 2) {
            uint64_t even = RDK_GEAR[data[at + i]];
            uint64_t both = 2 * even + RDK_GEAR[data[at + i + 1]];
            even += 2 * hash;
            hash = 4 * hash + both;
            least = even < least ? even : least;
            least = hash < least ? hash : least;
        }
        if (__builtin_expect(least <= limit, 0)) {
            hash = before;
            break;
        }
    }
    for (; at < to; at++) {
        hash = (hash << 1) + RDK_GEAR[data[at]];
        if (hash <= limit) {
            *found = hash;
            return at;
        }
    }
    return to;
}

static int is_text(uint8_t byte) { return byte >= 0x20 || byte == '\n' || byte == '\t' || byte == '\r'; }

/* Returns the next line start at or after `cut`, if everything up to it is text and it is near enough; else `cut`. */
static size_t lean_to_line(const uint8_t *data, size_t cut, size_t limit) {
    size_t reach = limit - cut < LINE_REACH ? limit : cut + LINE_REACH;
    if (data[cut - 1] == '\n') return cut;
    for (size_t at = cut; at < reach && is_text(data[at]); at++)
        if (data[at] == '\n') return at + 1;
    return cut;
}

size_t rdk_next_cut(const rdk_chunk_params *p, const uint8_t *data, size_t limit, int end_forced, uint32_t *flags) {
    size_t to = limit < p->max_length ? limit : p->max_length;
    size_t normal = to < p->normal_length ? to : p->normal_length;
    uint64_t hash = 0;
    size_t at = to;

    *flags = RDK_CHUNK_FORCED;
    if (to > p->min_length) {
        at = gear_scan(data, p->min_length, normal, UINT64_MAX >> p->early_bits, &hash);
        if (at == normal) at = normal < to ? gear_scan(data, normal, to, UINT64_MAX >> p->late_bits, &hash) : to;
    }
    if (at == to) return to == p->max_length || end_forced ? to : 0;
    *flags = hash >> (64 - p->large_bits) ? 0 : RDK_CHUNK_LARGE;
    at++;
    if (!p->lean_to_lines) return at;
    if (!end_forced && limit - at < LINE_REACH) return 0;
    return lean_to_line(data, at, limit);
}

int64_t rdk_chunk_scan(const rdk_chunk_params *params, const uint8_t *data, size_t length, int final,
                       const uint64_t *anchors, size_t anchor_count, rdk_chunk *out, size_t capacity,
                       size_t *consumed) {
    size_t start = 0, anchor = 0, count = 0;
    if (!rdk_chunk_params_valid(params) || (data == NULL && length) || out == NULL || consumed == NULL)
        return RDK_E_ARGUMENT;
    while (start < length && count < capacity) {
        while (anchor < anchor_count && anchors[anchor] <= start) anchor++;
        int anchored = anchor < anchor_count && anchors[anchor] <= length;
        size_t limit = (anchored ? anchors[anchor] : length) - start;
        size_t cut = rdk_next_cut(params, data + start, limit, anchored || final, &out[count].flags);
        if (cut == 0) break;
        out[count].offset = start;
        out[count].length = (uint32_t)cut;
        out[count].fingerprint = rdk_fingerprint(data + start, cut);
        count++;
        start += cut;
    }
    *consumed = start;
    return (int64_t)count;
}
