/* A read-only table from fingerprint to plain offset that works where it lies mapped, without being loaded.
 *
 * Entries stand in ascending order of fingerprint; entry i stands at slot
 *     max(slot of entry i-1 + 1, floor(fingerprint * home_slots / 2^64)),
 * an empty slot has offset RDK_EMPTY. So equal input gives equal bytes, and a look-up reads one or two cache lines.
 * All numbers are little-endian. */

typedef struct {
    uint64_t fingerprint;
    uint64_t offset;
} rdk_entry;

/* home_slots for a number of entries: a third more than entries, at least one. */
uint64_t rdk_index_home_slots(uint64_t entries);
/* Sorts entries and drops repeated fingerprints, keeping the lowest offset. Returns how many are left. */
uint64_t rdk_index_sort(rdk_entry *entries, uint64_t count);
/* Places sorted distinct entries in the slots from *next_slot on: slots[0] is that slot, and capacity bounds how many
 * may be written. Gaps are filled with empty slots. *next_slot becomes the slot after the last one written, so that
 * a table may be made piece by piece; slots up to home_slots that are left at the end are empty ones. */
int rdk_index_place(const rdk_entry *entries, uint64_t count, uint64_t home_slots, rdk_entry *slots, uint64_t capacity,
                    uint64_t *next_slot);
/* Offset stored under fingerprint, or UINT64_MAX. */
uint64_t rdk_index_find(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, uint64_t fingerprint);
/* The same for many fingerprints at once. */
void rdk_index_find_many(const rdk_entry *slots, uint64_t slot_count, uint64_t home_slots, const uint64_t *fingerprints,
                         size_t count, uint64_t *offsets);
