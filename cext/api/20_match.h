/* Matching plain bytes against mapped corpora, and copying them back. */

enum {
    RDK_OWN = 0, /* reference number of the layer's own new bytes; corpora are 1, 2, ... */
    RDK_REFERENCES_MAX = 16
};

typedef struct {
    const uint8_t *plain; /* the corpus's plain bytes */
    uint64_t plain_length;
    const rdk_entry *slots; /* its chunk index (see rdk_index_place) */
    uint64_t slot_count;
    uint64_t home_slots;
} rdk_reference;

typedef struct {
    uint64_t length;    /* plain bytes that the operation yields */
    uint64_t source;    /* offset in the reference's plain bytes */
    uint32_t reference; /* RDK_OWN or the corpus's number */
    uint32_t is_new;    /* 1: these bytes are new and were just appended to the own new bytes */
} rdk_operation;

typedef struct rdk_matcher rdk_matcher;

/* One blob's matcher; NULL if memory is short. Its table of own chunks grows with the new bytes (16 B per chunk). */
rdk_matcher *rdk_matcher_new(const rdk_chunk_params *params);
void rdk_matcher_free(rdk_matcher *matcher);

typedef struct {
    /* given */
    const uint8_t *window; /* the next plain bytes: what the previous call left unconsumed, then new ones */
    size_t length;
    int final;               /* no more bytes will follow */
    const uint64_t *anchors; /* ascending window offsets where chunks must begin */
    size_t anchor_count;
    const rdk_reference *references; /* references[0] is unused */
    size_t reference_count;          /* including number 0 */
    uint8_t *new_bytes;              /* all new bytes so far; capacity for `length` more */
    uint64_t new_length;             /* in and out */
    rdk_operation *operations;
    size_t capacity; /* at least 8 */
    /* answered */
    size_t operation_count;
    size_t consumed; /* window bytes that the operations cover */
} rdk_match_call;

/* Covers window bytes by operations. Every copy is confirmed byte by byte and extended in both directions. */
int rdk_match(rdk_matcher *matcher, rdk_match_call *call);

/* Executes operations [first, first + count): skips `skip` bytes of their output, writes at most `length`.
 * Returns the bytes written, or RDK_E_CORRUPT if an operation leaves its reference. */
int64_t rdk_execute(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                    size_t count, uint64_t skip, uint8_t *out, uint64_t length);

/* Whether rdk_execute would write just these `length` bytes: 1 or 0, or RDK_E_CORRUPT as above. Nothing is copied. */
int rdk_yields(const rdk_reference *references, size_t reference_count, const rdk_operation *operations, size_t count,
               uint64_t skip, const uint8_t *bytes, uint64_t length);

/* Marks in `marks` (one byte a segment) which segments of one reference the operations read; the same window as
 * rdk_execute. Returns the number of newly marked segments. */
int64_t rdk_touched(const rdk_operation *operations, size_t count, uint64_t skip, uint64_t length, uint32_t reference,
                    uint64_t segment_bytes, uint8_t *marks, uint64_t mark_count);

/* Operations as three byte columns (lengths, references, source moves), each LEB128; see
 * docs/formats.md. The buffer needs 30 bytes an operation. column_lengths has three items. */
int64_t rdk_operations_encode(const rdk_operation *operations, size_t count, uint32_t references, uint8_t *out,
                              size_t capacity, uint64_t *column_lengths);
int64_t rdk_operations_decode(const uint8_t *columns, const uint64_t *column_lengths, uint32_t references,
                              rdk_operation *operations, size_t capacity);

/* A stretch of a reference's plain bytes. */
typedef struct {
    uint64_t offset;
    uint64_t length;
    uint32_t reference;
    uint32_t operation; /* in: the fresh operation that it is a hint for */
} rdk_extent;

/* Twins: stretches of corpora that probably resemble the fresh operations: what follows the copy before them, what
 * precedes the copy after them, and the hints (sorted by operation). At most `most` twin bytes for one operation are
 * taken. has_base[i] says whether operation i got one. Writes stretches unsorted; returns their number. */
int64_t rdk_delta_bases(const rdk_reference *references, size_t reference_count, const rdk_operation *operations,
                        size_t count, const rdk_extent *hints, size_t hint_count, uint64_t most, uint8_t *has_base,
                        rdk_extent *out, size_t capacity);
/* Sorts by (reference, offset) and joins what overlaps or nearly touches (gap <= join). Returns the new number. */
int64_t rdk_extents_join(rdk_extent *stretches, size_t count, uint64_t join);

/* Gives every operation's reference number n the new number map[n]; all numbers must be below map_length. */
int rdk_renumber(rdk_operation *operations, size_t count, const uint32_t *map, size_t map_length);
/* Plain offset at which each `stride`-th operation begins: for finding the operation of an offset. The last entry is
 * the total. Returns the number of entries (count / stride rounded up, plus one), or RDK_E_CORRUPT on overflow. */
int64_t rdk_operation_starts(const rdk_operation *operations, size_t count, size_t stride, uint64_t *starts,
                             size_t capacity);

/* Plain bytes per reference number: totals has RDK_REFERENCES_MAX items. */
int rdk_operation_totals(const rdk_operation *operations, size_t count, uint64_t *totals);

typedef struct {
    uint64_t operation;
    uint64_t plain_offset; /* of its first byte, in the blob */
    uint64_t source;       /* of its first byte, in the new bytes */
    uint64_t length;
} rdk_unmatched_range;
/* Fresh operations of at least `least` bytes, if the first operation begins at plain_offset. Returns their number. */
int64_t rdk_unmatched_ranges(const rdk_operation *operations, size_t count, uint64_t plain_offset, uint64_t least,
                             rdk_unmatched_range *out, size_t capacity);

/* `length` plain bytes at `offset` of one blob and at `donor_offset` of an older one, the donor. Most of them are the
 * same. */
typedef struct {
    uint64_t offset, donor_offset, length;
} rdk_aligned_range;
/* Where a blob runs beside an older one, ascending and without overlaps on our side: what both copy from the same
 * corpora, with what little differs between. donor_numbers[n] is the older blob's number for our reference n,
 * RDK_REFERENCES_MAX if it has none (RDK_REFERENCES_MAX items). Returns their number. */
int64_t rdk_aligned_ranges(const rdk_operation *operations, size_t count, const uint32_t *donor_numbers,
                           const rdk_operation *older, size_t older_count, rdk_aligned_range *out, size_t capacity);
