/* Content-defined chunking: FastCDC (Xia et al., ATC 2016) with the Gear hash, two scales in one pass. */

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

typedef struct {
    uint32_t min_length;    /* bytes; at least 64 */
    uint32_t normal_length; /* bytes: the stricter mask holds before it, the looser one after it */
    uint32_t max_length;    /* bytes */
    uint8_t early_bits;     /* leading zero bits of the hash that make a boundary before normal_length */
    uint8_t late_bits;      /* the same after it; fewer than early_bits */
    uint8_t large_bits;     /* the same for a large-scale boundary; more than early_bits */
    uint8_t lean_to_lines;  /* 1: a boundary inside text moves to the next line start, if one is near */
} rdk_chunk_params;

/* Parameters for an average of 2^average_bits bytes (10..20). The minimum is half the average, which normalised
 * chunking allows without losing matches (paper, section 4.3) and which leaves half of the bytes unhashed; the maximum
 * is eight times it. */
int rdk_chunk_defaults(uint32_t average_bits, rdk_chunk_params *params);

/* Cuts data into chunks. Offsets in anchors (ascending, relative to data) are boundaries as well.
 * With final == 0 the last chunks, which more data could change, are left out; *consumed tells where to go on.
 * Returns the number of chunks written to out (stops early when capacity is reached), or a negative rdk_status. */
int64_t rdk_chunk_scan(const rdk_chunk_params *params, const uint8_t *data, size_t length, int final,
                       const uint64_t *anchors, size_t anchor_count, rdk_chunk *out, size_t capacity, size_t *consumed);

/* A 64-bit fingerprint of any bytes: finds candidates, proves nothing. Version 1, frozen. */
uint64_t rdk_fingerprint(const uint8_t *data, size_t length);

/* Walks a tar stream that arrives in pieces and reports where members' headers and contents start. */
typedef struct {
    uint64_t position;     /* stream offset of the next byte that will be fed */
    uint64_t next_header;  /* stream offset of the next header block */
    uint64_t pending_name; /* hash of the name that a PAX or GNU record gave the next member; 0 if none */
    uint64_t member_start; /* stream offset of the first record that belongs to the next member */
    uint32_t record_left;  /* bytes of a PAX or GNU name record still to come */
    uint32_t block_fill;   /* bytes held in block */
    uint32_t record_fill;
    uint8_t record_type;
    uint8_t state; /* 0 unsure, 1 inside a tar, 2 not (or no longer) a tar */
    uint8_t block[512];
    uint8_t record[4096];
} rdk_tar_walk;

typedef struct {
    uint64_t header;    /* stream offset where the member's first header block starts */
    uint64_t content;   /* stream offset where its content starts */
    uint64_t length;    /* bytes of content */
    uint64_t path_hash; /* rdk_path_hash of its name */
} rdk_tar_member;

void rdk_tar_start(rdk_tar_walk *walk);
/* Returns the number of members whose header lies in this piece (at most capacity; RDK_E_OUTPUT_FULL if more). */
int64_t rdk_tar_feed(rdk_tar_walk *walk, const uint8_t *data, size_t length, rdk_tar_member *out, size_t capacity);
/* Fingerprint of a member's path with a leading "./" or "/" left out and every run of digits taken as one '#'. */
uint64_t rdk_path_hash(const uint8_t *path, size_t length);
