/* Content-defined chunking: FastCDC (Xia et al., USENIX ATC 2016) with the Gear hash, two scales in one pass;
 * fingerprints; tar members. */

enum rdk_chunk_flag {
    RDK_CHUNK_LARGE = 1, /* the chunk ends at a large-scale boundary: its fingerprint is a hook */
    RDK_CHUNK_FORCED = 2 /* ended by the maximum length, an anchor or the end of data, not by content */
};

typedef struct {
    uint64_t offset;      /* of its first byte, from the start of the call's data */
    uint64_t fingerprint; /* rdk_fingerprint of its bytes */
    uint32_t length;      /* bytes */
    uint32_t flags;       /* rdk_chunk_flag */
} rdk_chunk;

/* Each number is at most the one below it: min_length, normal_length, max_length; late_bits, early_bits, large_bits. */
typedef struct {
    uint32_t min_length;    /* bytes; at least 64, what one hash sees */
    uint32_t normal_length; /* bytes: early_bits hold before it, late_bits after it */
    uint32_t max_length;    /* bytes */
    uint8_t early_bits;     /* leading zero bits of the hash that make a boundary before normal_length */
    uint8_t late_bits;      /* the same after it; at least 1 */
    uint8_t large_bits;     /* the same for a large-scale boundary; at most 40 */
    uint8_t
        lean_to_lines; /* 1: a boundary inside text moves to the next line start, if there is one within 256 bytes */
} rdk_chunk_params;

/* Sets `params` for an average of 2^average_bits bytes, with average_bits from 10 to 20; RDK_E_ARGUMENT for others. The
 * minimum is half the average, which normalised chunking allows without losing matches (section 4.3 of the paper) and
 * which leaves half of the bytes unhashed; the maximum is eight times the average. Frozen: the boundaries of all stored
 * corpora follow from these numbers. */
int rdk_chunk_defaults(uint32_t average_bits, rdk_chunk_params *params);

/* Cuts data into chunks, at `anchors` (ascending offsets in data) as well. With final == 0 the last chunks, which more
 * data could change, are left out. *consumed becomes the number of bytes that the chunks cover: call again with the
 * rest, followed by more. Returns the number of chunks written to `out`, at most `capacity`, or RDK_E_ARGUMENT. */
int64_t rdk_chunk_scan(const rdk_chunk_params *params, const uint8_t *data, size_t length, int final,
                       const uint64_t *anchors, size_t anchor_count, rdk_chunk *out, size_t capacity, size_t *consumed);

/* Returns a 64-bit fingerprint of `length` bytes. It finds candidates and proves nothing: whoever knows it can make
 * collisions. Version 1, frozen. */
uint64_t rdk_fingerprint(const uint8_t *data, size_t length);

/* Follows a tar stream (POSIX ustar and pax, GNU) that arrives in pieces. */
typedef struct {
    uint64_t position;     /* stream offset of the next byte that will be fed */
    uint64_t next_header;  /* stream offset of the next header block */
    uint64_t pending_name; /* path hash that a PAX or GNU record gave the next member; 0 if none */
    uint64_t member_start; /* stream offset of the first record that belongs to the next member */
    uint32_t record_left;  /* bytes of a PAX or GNU name record still to come */
    uint32_t block_fill;   /* bytes in `block` */
    uint32_t record_fill;  /* bytes in `record` */
    uint8_t record_type;   /* the record's type flag */
    uint8_t state;         /* 0 unsure, 1 inside a tar, 2 not (or no longer) a tar */
    uint8_t block[512];    /* a header block that is not complete yet */
    uint8_t record[4096];  /* the first bytes of a name record; longer names are cut */
} rdk_tar_walk;

typedef struct {
    uint64_t header;    /* stream offset where the member's first header block starts */
    uint64_t content;   /* stream offset where its content starts */
    uint64_t length;    /* bytes of content */
    uint64_t path_hash; /* rdk_path_hash of its name */
} rdk_tar_member;

/* Prepares a walk that begins at stream offset 0. */
void rdk_tar_start(rdk_tar_walk *walk);

/* Takes the next piece of the stream, which may be anything. Writes the members whose header block ends in it and
 * returns their number; RDK_E_OUTPUT_FULL if there are more than `capacity` (length / 512 + 2 always do). */
int64_t rdk_tar_feed(rdk_tar_walk *walk, const uint8_t *data, size_t length, rdk_tar_member *out, size_t capacity);

/* Returns the fingerprint of a member's path without leading "./" and "/" and with every run of digits as one '#', so
 * that versions of a file have the same one. At most 4,096 bytes of the result count. Frozen. */
uint64_t rdk_path_hash(const uint8_t *path, size_t length);
