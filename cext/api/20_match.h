/* Matching plain bytes against mapped corpora, and copying them back. */

enum {
    RDK_OWN = 0, /* reference number of the blob's own new bytes; corpora are 1, 2, ... */
    /* References of one blob with its own: the format allows 8 corpora for a layer; the rest is spare. */
    RDK_REFERENCES_MAX = 16
};

typedef struct {
    const uint8_t *plain; /* the corpus's plain bytes */
    uint64_t plain_length;
    const rdk_entry *slots; /* its chunk index (see rdk_index_place); NULL where only copying is wanted */
    uint64_t slot_count;
    uint64_t home_slots;
} rdk_reference;

/* Copies `length` bytes from `source`. */
typedef struct {
    uint64_t length;    /* plain bytes that the operation yields */
    uint64_t source;    /* offset in the reference's plain bytes */
    uint32_t reference; /* RDK_OWN or the corpus's number */
    uint32_t is_new;    /* 1: these bytes matched nothing, and were appended to the own new bytes with this operation */
} rdk_operation;

/* ---- matching -------------------------------------------------------------------------------------------------- */

typedef struct rdk_matcher rdk_matcher;

/* Returns a matcher for one blob; NULL if memory is short or `params` are outside their ranges. Its table of own chunks
 * grows with the new bytes (24 to 48 bytes for each chunk). */
rdk_matcher *rdk_matcher_new(const rdk_chunk_params *params);
void rdk_matcher_free(rdk_matcher *matcher);

typedef struct {
    /* given */
    const uint8_t *window; /* the next plain bytes: what the previous call left unconsumed, then more */
    size_t length;
    int final;               /* no more bytes will follow */
    const uint64_t *anchors; /* ascending window offsets where chunks must begin */
    size_t anchor_count;
    const rdk_reference *references; /* references[0] is unused */
    size_t reference_count;          /* including number 0 */
    uint8_t *new_bytes;              /* all new bytes so far, with space for `length` more */
    uint64_t new_length;             /* in and out */
    rdk_operation *operations;
    size_t capacity; /* at least 8 */
    /* answered */
    size_t operation_count;
    size_t consumed; /* window bytes that the operations cover */
} rdk_match_call;

/* Covers window bytes by operations, and appends those that match nothing to the new bytes. Every copy is confirmed
 * byte by byte and extended in both directions. Stops before the end of the window when `capacity` is nearly used up,
 * or when more bytes could change what follows and `final` is 0. RDK_E_MEMORY; RDK_E_ARGUMENT. */
int rdk_match(rdk_matcher *matcher, rdk_match_call *call);

/* ---- executing ------------------------------------------------------------------------------------------------- */

/* Executes operations: skips `skip` bytes of their output, then writes at most `length` to `out`. Returns the bytes
 * written, fewer if the operations end before, or RDK_E_CORRUPT if one leaves its reference. */
int64_t rdk_execute(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                    size_t count, uint64_t skip, uint8_t *out, uint64_t length);

/* Tells, without a copy, whether rdk_execute would write just these `length` bytes: 1 or 0, or RDK_E_CORRUPT as above.
 */
int rdk_yields(const rdk_reference *references, size_t reference_count, const rdk_operation *operations, size_t count,
               uint64_t skip, const uint8_t *bytes, uint64_t length);

/* Marks in `marks`, one byte for each segment of `segment_bytes`, which segments of one reference the operations read;
 * `skip` and `length` are those of rdk_execute. Returns the number of newly marked segments, or RDK_E_CORRUPT if one is
 * beyond `mark_count`. */
int64_t rdk_touched(const rdk_operation *operations, size_t count, uint64_t skip, uint64_t length, uint32_t reference,
                    uint64_t segment_bytes, uint8_t *marks, uint64_t mark_count);

/* ---- the stored form ------------------------------------------------------------------------------------------- */

/* Writes operations as three columns of LEB128 numbers (lengths, references, moves of the source), one after the other;
 * docs/formats/instructions.md describes them. `references` is the number of references, own included. column_lengths
 * has three items. Returns the bytes written; 30 for each operation always do, else RDK_E_OUTPUT_FULL.
 * RDK_E_ARGUMENT: an operation names another reference, or new bytes out of order. */
int64_t rdk_operations_encode(const rdk_operation *operations, size_t count, uint32_t references, uint8_t *out,
                              size_t capacity, uint64_t *column_lengths);

/* The way back. Returns the number of operations, none of them empty or longer than 2^56; RDK_E_OUTPUT_FULL: more than
 * `capacity`. Sources may lie outside their references: rdk_execute tests that. */
int64_t rdk_operations_decode(const uint8_t *columns, const uint64_t *column_lengths, uint32_t references,
                              rdk_operation *operations, size_t capacity);

/* ---- questions about operations -------------------------------------------------------------------------------- */

/* Gives every operation's reference number n the new number map[n]. RDK_E_ARGUMENT: one is not below map_length. */
int rdk_renumber(rdk_operation *operations, size_t count, const uint32_t *map, size_t map_length);

/* Writes the plain offset at which each `stride`-th operation begins, and the total at the end: for finding the
 * operation of an offset. Returns the number of entries (count / stride rounded up, and one), RDK_E_OUTPUT_FULL, or
 * RDK_E_CORRUPT: the total is more than 2^60. */
int64_t rdk_operation_starts(const rdk_operation *operations, size_t count, size_t stride, uint64_t *starts,
                             size_t capacity);

/* Sets totals[n] to the plain bytes that operations take from reference n; it has RDK_REFERENCES_MAX items.
 * RDK_E_CORRUPT: a number is not below. */
int rdk_operation_totals(const rdk_operation *operations, size_t count, uint64_t *totals);

/* Plain bytes that matched nothing. */
typedef struct {
    uint64_t operation;    /* the number of their operation */
    uint64_t plain_offset; /* of their first byte, in the blob */
    uint64_t source;       /* of their first byte, in the new bytes */
    uint64_t length;
} rdk_unmatched_range;

/* Lists new operations of at least `length_min` bytes; the first operation begins at plain_offset. Returns their
 * number, or RDK_E_OUTPUT_FULL. */
int64_t rdk_unmatched_ranges(const rdk_operation *operations, size_t count, uint64_t plain_offset, uint64_t length_min,
                             rdk_unmatched_range *out, size_t capacity);

/* ---- bytes for deltas ------------------------------------------------------------------------------------------ */

/* A range of a reference's plain bytes. */
typedef struct {
    uint64_t offset;
    uint64_t length;
    uint32_t reference;
    uint32_t operation; /* in: the new operation that it is a hint for */
} rdk_extent;

/* Finds delta bases: extents of corpora that probably resemble the new operations. They are what follows the copy
 * before an operation, what precedes the copy after it, and the hints, which are sorted by operation. At most
 * `length_max` bytes are taken beside a neighbour. has_base[i] tells whether operation i has one. Writes extents in no
 * order; returns their number, or RDK_E_OUTPUT_FULL (2 for each operation and the hints always do). Operations must
 * name references that exist. */
int64_t rdk_delta_bases(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                        size_t count, const rdk_extent *hints, size_t hint_count, uint64_t length_max,
                        uint8_t *has_base, rdk_extent *out, size_t capacity);

/* Sorts extents by (reference, offset) and joins those with at most `join` bytes between them. Returns how many are
 * left. */
int64_t rdk_extents_join(rdk_extent *extents, size_t count, uint64_t join);

/* ---- two blobs ------------------------------------------------------------------------------------------------- */

/* `length` plain bytes at `offset` of one blob and at `donor_offset` of an older one, the donor. Most of them are the
 * same. */
typedef struct {
    uint64_t offset, donor_offset, length;
} rdk_aligned_range;

/* Finds aligned ranges of a blob and a donor, judged by what both copy from the same corpora. They ascend and do not
 * overlap in the newer blob. donor_numbers[n] is the donor's number for the newer blob's reference n,
 * RDK_REFERENCES_MAX if it has none; there are RDK_REFERENCES_MAX items. Returns their number, RDK_E_OUTPUT_FULL,
 * RDK_E_MEMORY, or RDK_E_CORRUPT: a reference is not below RDK_REFERENCES_MAX. Allocates 48 bytes for each of the
 * donor's operations. */
int64_t rdk_aligned_ranges(const rdk_operation *operations, size_t count, const uint32_t *donor_numbers,
                           const rdk_operation *donor, size_t donor_count, rdk_aligned_range *out, size_t capacity);
