/* gzip and deflate: reading streams, and rebuilding them bit for bit. See cext/README.md. */

/* One deflate block of a real stream. Bit positions count from the member's first deflate bit. */
typedef struct rdk_block_info {
    uint64_t bit_start;   /* of BFINAL */
    uint64_t plain_start; /* of its first plain byte in the member */
    uint32_t header_bits; /* BFINAL, BTYPE and tables; for a stored block up to its first data byte */
    uint8_t type;         /* 0 stored, 1 fixed, 2 dynamic */
    uint8_t final;
    uint8_t has_match; /* complete once the block has ended */
    uint8_t ended;
    uint64_t tokens; /* so far; 0 for a stored block */
} rdk_block_info;

/* Streaming inflate of one deflate stream (RFC 1951). */
typedef struct rdk_inflate rdk_inflate;

enum rdk_inflate_status {
    RDK_INFLATE_INPUT = 1,  /* needs more input: call again with the unused bytes and what follows */
    RDK_INFLATE_OUTPUT = 2, /* the plain buffer (or token or block array) is full */
    RDK_INFLATE_DONE = 3    /* the final block ended */
};

typedef struct rdk_inflate_io {
    const uint8_t *input; /* its first byte holds the next bit at `bit` */
    size_t input_length;
    uint32_t bit;      /* in and out: 0..7 */
    size_t input_used; /* out: whole bytes that will not be needed again */
    uint8_t *plain;    /* plain[0 .. plain_used) is history: keep at least 32 KiB of it, or all there was; NULL if
                        * only tokens are wanted: then the bytes are just counted */
    size_t plain_capacity;
    size_t plain_used; /* in and out */
    uint32_t *tokens;  /* NULL: none wanted. literal: the byte; match: length << 16 | distance */
    size_t token_capacity;
    size_t token_used;      /* in and out */
    rdk_block_info *blocks; /* a block is entered when its header was read, completed when it ended */
    size_t block_capacity;
    size_t block_used; /* in and out; the last one may be unfinished: keep it as the first of the next call */
} rdk_inflate_io;

rdk_inflate *rdk_inflate_new(void);
void rdk_inflate_free(rdk_inflate *inflate);
void rdk_inflate_reset(rdk_inflate *inflate);
/* One of rdk_inflate_status, or RDK_E_CORRUPT. */
int rdk_inflate_run(rdk_inflate *inflate, rdk_inflate_io *io);

/* Models. */
int rdk_model_count(void);
/* 1-based order of the table; 0 when there is no such model. */
int rdk_model_at(int index);        /* its id, or RDK_E_ARGUMENT */
const char *rdk_model_name(int id); /* NULL: no such model */
typedef struct rdk_model_facts {
    uint32_t warmup_bytes, lookahead_bytes, segment_bytes, align_bytes;
    int level;
    int reuses_tokens; /* whether it takes tokens over from donors */
} rdk_model_facts;
int rdk_model_describe(int id, rdk_model_facts *facts);
uint32_t rdk_model_detect(int id, const rdk_block_info *blocks, size_t count);

/* One segment: a run of whole blocks of one member. */
typedef struct rdk_segment {
    const uint8_t *plain; /* warm-up, segment, lookahead */
    uint32_t start, stop; /* the segment within `plain` */
    uint32_t length;
    uint64_t offset; /* of plain[0] in the member */
    int ends;        /* the member's plain bytes end at `length` */
    int last;        /* the segment holds the member's final block */
    int model;
    uint32_t member_param;
    uint32_t bit; /* 0..7: where in its first wire byte the segment begins */
} rdk_segment;

/* Writes the segment's wire bits; the bits before `bit` in the first byte and after the end in the last one are 0.
 * `wire_bits` is given the number of bits, without the first `bit`. Allocates the model's state and a token buffer. */
int rdk_segment_rebuild(const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length, uint8_t *wire,
                        size_t wire_capacity, uint64_t *wire_bits);

/* An older stream of the same model and parameter, whose tokens are all the model's own. Where its plain bytes run
 * beside a segment's, most of its tokens are the segment's too and need no search. */
typedef struct rdk_donor_range {
    const uint8_t *plain;   /* plain[0] stands beside segment->plain[begin] */
    uint32_t begin, end;    /* indexes into segment->plain */
    uint64_t offset;        /* of plain[0] in its own member */
    const uint32_t *tokens; /* as rdk_segment_tokens gives them, of one segment after the other */
    size_t token_count;
    int64_t token_begin; /* where the first of them begins, as an index into segment->plain; may be negative */
} rdk_donor_range;

/* rdk_segment_rebuild with donors in ascending order that do not overlap. For a segment without a recipe; the bits are
 * those of rdk_segment_rebuild whatever the donors hold, provided that they are what they claim. A model that cannot
 * use them does without. */
int rdk_segment_rebuild_reusing(const rdk_segment *segment, const rdk_donor_range *donors, size_t count, uint8_t *wire,
                                size_t wire_capacity, uint64_t *wire_bits);

/* The same with a token delta of the segment (rdk_token_delta) against these very donors, whose plain bytes are not
 * read then and may be NULL. RDK_E_CORRUPT: it is another segment's or none. The bits are as right as the delta is. */
int rdk_segment_rebuild_by_delta(const rdk_segment *segment, const rdk_donor_range *donors, size_t count,
                                 const uint8_t *delta, size_t delta_length, uint8_t *wire, size_t wire_capacity,
                                 uint64_t *wire_bits);

/* Writes what turns the tokens of older streams into those of a segment that begins at index `start` of its plain
 * bytes; its length or a status. `copied`: how many of the segment's bytes the older tokens stand for. The donors'
 * plain bytes are not read. */
int64_t rdk_token_delta(uint32_t start, const uint32_t *tokens, size_t token_count, const rdk_donor_range *donors,
                        size_t count, uint8_t *delta, size_t capacity, uint64_t *copied);

enum { RDK_STORED_SPAN = 1 << 30 };

/* The tokens of a segment of `plain_length` bytes that begins at `bit` of wire[0], in inflate's form; a stored block of
 * n bytes is RDK_STORED_SPAN + n, one token. Returns their number or a status. */
int64_t rdk_segment_tokens(const uint8_t *wire, size_t wire_length, uint32_t bit, uint32_t plain_length,
                           uint32_t *tokens, size_t capacity);

/* Finds the recipe of a real segment of `wire_bits` bits that begins at bit `segment->bit` of wire[0]. Proved: the
 * recipe was rebuilt and compared. RDK_E_OUTPUT_FULL: it does not fit `recipe_capacity`; RDK_E_LIMIT: more than
 * `most_corrections`. */
int rdk_segment_plan(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                     uint32_t most_corrections, uint8_t *recipe, size_t recipe_capacity, size_t *recipe_length,
                     uint32_t *corrections);

/* How near each of `count` models comes to a real segment: corrections and unpredicted chunks in scores[i], UINT32_MAX
 * for a model that is worse than `most` or than twice the best so far plus 4. 0 means that it was rebuilt, compared and
 * is exact; models behind the first such one are not tried. `segment->model` and `member_param` are ignored. */
int rdk_segment_trial(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                      const uint16_t *models, const uint32_t *member_params, size_t count, uint32_t most,
                      uint32_t *scores);
