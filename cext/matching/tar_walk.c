/* Members of a tar stream, and path hashes. Field offsets are those of POSIX.1-2017, "pax", ustar interchange format.
 */
#include <string.h>

#include "reducto_kernel.h"

enum {
    BLOCK = 512,
    PATH_BYTES_MAX = 4096, /* PATH_MAX of Linux: what a path hash looks at. Frozen */
    NAME = 0,
    NAME_BYTES = 100,
    SIZE = 124,
    SIZE_BYTES = 12,
    CHECKSUM = 148,
    CHECKSUM_BYTES = 8,
    TYPE = 156,
    MAGIC = 257,
    PREFIX = 345,
    PREFIX_BYTES = 155
};

/* No file is as long, so a sum of positions does not wrap around. */
#define LENGTH_MAX (UINT64_C(1) << 56)

/* rdk_tar_walk.state. */
enum { UNSURE = 0, IN_TAR = 1, NO_TAR = 2 };

uint64_t rdk_path_hash(const uint8_t *path, size_t length) {
    uint8_t folded[PATH_BYTES_MAX];
    size_t out = 0, at = 0;
    while (length - at >= 2 && path[at] == '.' && path[at + 1] == '/') at += 2;
    while (at < length && path[at] == '/') at++;
    for (; at < length && out < sizeof folded; at++) {
        int digit = path[at] >= '0' && path[at] <= '9';
        if (digit && out && folded[out - 1] == '#') continue;
        folded[out++] = digit ? '#' : path[at];
    }
    return rdk_fingerprint(folded, out);
}

void rdk_tar_start(rdk_tar_walk *walk) { memset(walk, 0, sizeof *walk); }

/* Returns the length of a text field, which ends at a zero byte or at `limit`. */
static size_t field_length(const uint8_t *field, size_t limit) {
    size_t n = 0;
    while (n < limit && field[n]) n++;
    return n;
}

/* Reads a numeric header field: octal digits, or, when the first bit is set, a big-endian number (a GNU extension that
 * all tools read). Returns 0 if it is neither. */
static int parse_number(const uint8_t *field, size_t width, uint64_t *value) {
    uint64_t v = 0;
    if (field[0] & 0x80) {
        v = field[0] & 0x7f;
        for (size_t i = 1; i < width; i++) {
            if (v >> 55) return 0;
            v = v << 8 | field[i];
        }
        *value = v;
        return 1;
    }
    size_t i = 0;
    while (i < width && field[i] == ' ') i++;
    for (; i < width && field[i] >= '0' && field[i] <= '7'; i++) v = v << 3 | (uint64_t)(field[i] - '0');
    if (i < width && field[i] != ' ' && field[i] != 0) return 0;
    *value = v;
    return 1;
}

/* The checksum is the sum of all bytes of the block, with its own field as spaces. */
static int checksum_matches(const uint8_t *block) {
    uint64_t stated, sum = 0;
    if (!parse_number(block + CHECKSUM, CHECKSUM_BYTES, &stated)) return 0;
    for (size_t i = 0; i < BLOCK; i++) sum += i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES ? ' ' : block[i];
    return sum == stated;
}

/* Returns the path hash of a header's prefix and name. */
static uint64_t header_path_hash(const uint8_t *block) {
    uint8_t path[PREFIX_BYTES + 1 + NAME_BYTES];
    size_t n = 0, prefix = field_length(block + PREFIX, PREFIX_BYTES), name = field_length(block + NAME, NAME_BYTES);
    if (prefix && !memcmp(block + MAGIC, "ustar\0", 6)) {
        memcpy(path, block + PREFIX, prefix);
        n = prefix;
        path[n++] = '/';
    }
    memcpy(path + n, block + NAME, name);
    return rdk_path_hash(path, n + name);
}

/* Returns the path hash of a PAX record list ("<length> path=<value>\n"); 0 if it has no path. */
static uint64_t pax_path_hash(const uint8_t *record, size_t length) {
    size_t at = 0;
    while (at < length) {
        size_t number = 0, i = at;
        while (i < length && record[i] >= '0' && record[i] <= '9' && number < length)
            number = number * 10 + (size_t)(record[i++] - '0');
        if (i >= length || record[i] != ' ' || number < i - at + 3 || number > length - at) return 0;
        if (number > i - at + 7 && !memcmp(record + i + 1, "path=", 5))
            return rdk_path_hash(record + i + 6, number - (i - at) - 7);
        at += number;
    }
    return 0;
}

/* A name record is complete, or as much of it as is kept. */
static void record_done(rdk_tar_walk *walk) {
    size_t length = walk->record_fill;
    if (walk->record_type == 'L') walk->pending_name = rdk_path_hash(walk->record, field_length(walk->record, length));
    else walk->pending_name = pax_path_hash(walk->record, length);
}

/* Handles a complete header block. Returns 1 if it begins a member, which *member then holds. */
static int header_done(rdk_tar_walk *walk, rdk_tar_member *member) {
    const uint8_t *block = walk->block;
    uint64_t start = walk->next_header, length;
    static const uint8_t zeros[BLOCK];

    walk->next_header = start + BLOCK;
    if (!memcmp(block, zeros, BLOCK)) {
        walk->member_start = walk->next_header;
        return 0;
    }
    if (!checksum_matches(block) || !parse_number(block + SIZE, SIZE_BYTES, &length) || length > LENGTH_MAX) {
        walk->state = NO_TAR;
        return 0;
    }
    walk->state = IN_TAR;
    uint8_t type = block[TYPE];
    /* Links, devices, directories and FIFOs, types 1 to 6, have no content whatever their size says. */
    int holds_content = !(type >= '1' && type <= '6');
    uint64_t content = holds_content ? length : 0;
    walk->next_header += (content + BLOCK - 1) / BLOCK * BLOCK;
    /* PAX records of the next member (x) and of all (g), GNU's long names (L) and link names (K): x and L are kept for
     * their path. */
    if (type == 'x' || type == 'L' || type == 'g' || type == 'K') {
        walk->record_type = type;
        walk->record_fill = 0;
        walk->record_left =
            type == 'x' || type == 'L' ? (uint32_t)(length < sizeof walk->record ? length : sizeof walk->record) : 0;
        return 0;
    }
    member->header = walk->member_start;
    member->content = start + BLOCK;
    member->length = content;
    member->path_hash = walk->pending_name ? walk->pending_name : header_path_hash(block);
    walk->pending_name = 0;
    walk->member_start = walk->next_header;
    return 1;
}

int64_t rdk_tar_feed(rdk_tar_walk *walk, const uint8_t *data, size_t length, rdk_tar_member *out, size_t capacity) {
    size_t at = 0, count = 0;
    while (at < length && walk->state != NO_TAR) {
        size_t left = length - at, take;
        uint64_t here = walk->position + at;
        if (walk->record_left) {
            take = left < walk->record_left ? left : walk->record_left;
            memcpy(walk->record + walk->record_fill, data + at, take);
            walk->record_fill += (uint32_t)take;
            walk->record_left -= (uint32_t)take;
            at += take;
            if (!walk->record_left) record_done(walk);
            continue;
        }
        if (!walk->block_fill && here < walk->next_header) {
            uint64_t skip = walk->next_header - here;
            at += skip < left ? (size_t)skip : left;
            continue;
        }
        take = BLOCK - walk->block_fill;
        take = left < take ? left : take;
        memcpy(walk->block + walk->block_fill, data + at, take);
        walk->block_fill += (uint32_t)take;
        at += take;
        if (walk->block_fill < BLOCK) break;
        walk->block_fill = 0;
        rdk_tar_member member;
        if (header_done(walk, &member)) {
            if (count == capacity) return RDK_E_OUTPUT_FULL;
            out[count++] = member;
        }
    }
    walk->position += length;
    return (int64_t)count;
}
