/* api/01_bytes.h. */
#define _DEFAULT_SOURCE /* for madvise under -std=c11 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/leb128.h"
#include "reducto_kernel.h"

int rdk_equal(const uint8_t *left, const uint8_t *right, size_t length) { return !memcmp(left, right, length); }

/* All bytes are zero if the first one is, and every other one equals the one before it. */
static int is_zero(const uint8_t *bytes, uint64_t length) {
    return bytes[0] == 0 && !memcmp(bytes, bytes + 1, length - 1);
}

uint64_t rdk_data_run(const uint8_t *bytes, uint64_t length, uint64_t block, uint64_t from, uint64_t *stop) {
    uint64_t start = length, end = length;
    for (uint64_t at = from; at < length; at += block) {
        int zero = is_zero(bytes + at, length - at < block ? length - at : block);
        if (!zero && start == length) start = at;
        if (zero && start != length) {
            end = at;
            break;
        }
    }
    *stop = end;
    return start;
}

void rdk_copy(uint8_t *out, const uint8_t *bytes, size_t length) { memmove(out, bytes, length); }

void *rdk_allocate(size_t length) { return malloc(length); }

void rdk_release(void *buffer) { free(buffer); }

void rdk_discard_pages(uint8_t *start, size_t length) { (void)madvise(start, length, MADV_DONTNEED); }

int64_t rdk_leb128_read_many(const uint8_t *bytes, size_t length, uint64_t *out, size_t count) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < count; i++)
        if (!rdk_leb128_read(&at, bytes + length, 64, out + i)) return RDK_E_CORRUPT;
    return at - bytes;
}
