#include "reducto_kernel.h"

#include <stdlib.h>
#include <string.h>

#define EMPTY UINT64_MAX

uint64_t rdk_index_home_slots(uint64_t entries) { return entries + entries / 3 + 1; }

/* For qsort: the lowest offset of a fingerprint comes first. */
static int by_fingerprint(const void *left, const void *right) {
    const rdk_entry *a = left, *b = right;
    if (a->fingerprint != b->fingerprint) return a->fingerprint < b->fingerprint ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

uint64_t rdk_index_sort(rdk_entry *entries, uint64_t count) {
    uint64_t kept = 0;
    qsort(entries, count, sizeof *entries, by_fingerprint);
    for (uint64_t i = 0; i < count; i++)
        if (!kept || entries[kept - 1].fingerprint != entries[i].fingerprint) entries[kept++] = entries[i];
    return kept;
}

/* Where the entry would be if the table had no others: fingerprints are spread evenly. */
static inline uint64_t home_slot(uint64_t fingerprint, uint64_t home_slots) {
    return (uint64_t)((unsigned __int128)fingerprint * home_slots >> 64);
}

int rdk_index_place(const rdk_entry *entries, uint64_t count, uint64_t home_slots, rdk_entry *slots, uint64_t capacity,
                    uint64_t *next_slot) {
    uint64_t first = *next_slot, next = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t home = home_slot(entries[i].fingerprint, home_slots);
        uint64_t slot = home > first + next ? home - first : next;
        if (slot >= capacity) return RDK_E_OUTPUT_FULL;
        /* Bytes of 0xff are an empty slot, because their offset is EMPTY. */
        if (slot > next) memset(slots + next, 0xff, (slot - next) * sizeof *slots);
        slots[slot] = entries[i];
        next = slot + 1;
    }
    *next_slot = first + next;
    return RDK_OK;
}

uint64_t rdk_index_find(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, uint64_t fingerprint) {
    if (!slot_count) return EMPTY;
    for (uint64_t slot = home_slot(fingerprint, home_slots); slot < slot_count; slot++) {
        if (slots[slot].offset == EMPTY || slots[slot].fingerprint > fingerprint) return EMPTY;
        if (slots[slot].fingerprint == fingerprint) return slots[slot].offset;
    }
    return EMPTY;
}

void rdk_index_find_many(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, const uint64_t *fingerprints,
                         size_t count, uint64_t *offsets) {
    for (size_t i = 0; i < count; i++) offsets[i] = rdk_index_find(slots, slot_count, home_slots, fingerprints[i]);
}
