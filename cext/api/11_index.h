/* A read-only table from fingerprint to plain offset that works where it lies mapped, without being loaded.
 *
 * Entries stand in ascending order of fingerprint; entry i stands at slot
 *     max(slot of entry i-1 + 1, floor(fingerprint * home_slots / 2^64)),
 * and an empty slot has offset UINT64_MAX. So equal input gives equal bytes, and a look-up reads one or two cache
 * lines. All numbers are little-endian. Frozen: part of the corpus format. */

typedef struct {
    uint64_t fingerprint;
    uint64_t offset;
} rdk_entry;

/* Returns home_slots for a number of entries: a third more than entries, at least one. */
uint64_t rdk_index_home_slots(uint64_t entries);

/* Sorts entries and drops repeated fingerprints, keeping the lowest offset of each. Returns how many are left. */
uint64_t rdk_index_sort(rdk_entry *entries, uint64_t count);

/* Places sorted distinct entries into the slots from *next_slot on, and empty slots before and between them. slots[0]
 * is that slot, and at most `capacity` slots are written; RDK_E_OUTPUT_FULL if they do not do. *next_slot becomes the
 * slot behind the last one written, so that a table may be made piece by piece. Slots up to home_slots that are left at
 * the end are for the caller to make empty ones. */
int rdk_index_place(const rdk_entry *entries, uint64_t count, uint64_t home_slots, rdk_entry *slots, uint64_t capacity,
                    uint64_t *next_slot);

/* Returns the offset stored under `fingerprint`, or UINT64_MAX. Any bytes may lie in the slots; the answer then may be
 * any number. */
uint64_t rdk_index_find(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, uint64_t fingerprint);

/* The same for `count` fingerprints, into as many offsets. */
void rdk_index_find_many(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, const uint64_t *fingerprints,
                         size_t count, uint64_t *offsets);
