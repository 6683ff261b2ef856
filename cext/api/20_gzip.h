/* Deflate streams (RFC 1951), as gzip members hold them: reading them, and rebuilding them bit for bit. */

/* ---- inflate --------------------------------------------------------------------------------------------------- */

/* One deflate block of a real stream. Bit positions count from the member's first deflate bit. */
typedef struct rdk_block_info {
    uint64_t bit_start;   /* of BFINAL */
    uint64_t plain_start; /* of its first plain byte in the member */
    uint32_t header_bits; /* BFINAL, BTYPE and code lengths; for a stored block up to its first data byte */
    uint8_t type;         /* 0 stored, 1 fixed, 2 dynamic */
    uint8_t final;        /* BFINAL */
    uint8_t has_match;    /* there is a match in it; complete once the block has ended */
    uint8_t ended;        /* its last bit was read */
    uint64_t tokens;      /* read so far; 0 for a stored block */
} rdk_block_info;

/* Streaming inflate of one deflate stream. */
typedef struct rdk_inflate rdk_inflate;

enum rdk_inflate_status {
    RDK_INFLATE_INPUT = 1,  /* needs more input: call again with the unused bytes, followed by more */
    RDK_INFLATE_OUTPUT = 2, /* the array for plain bytes, tokens or blocks is full */
    RDK_INFLATE_DONE = 3    /* the final block has ended */
};

typedef struct rdk_inflate_io {
    const uint8_t *input; /* its first byte holds the next bit at `bit` */
    size_t input_length;
    uint32_t bit;      /* in and out: 0 to 7 */
    size_t input_used; /* out: whole bytes that will not be needed again */
    uint8_t *plain; /* plain[0, plain_used) is history: keep its last 32 KiB, or all there is. NULL if only tokens are
                     * wanted: then bytes are just counted */
    size_t plain_capacity;
    size_t plain_used; /* in and out */
    uint32_t *tokens;  /* NULL: not wanted. A literal is its byte, a match is length << 16 | distance */
    size_t token_capacity;
    size_t token_used;      /* in and out */
    rdk_block_info *blocks; /* NULL: not wanted. A block is entered when its header was read, completed when it ended */
    size_t block_capacity;
    size_t block_used; /* in and out; the last one may be unfinished: keep it as the first of the next call */
} rdk_inflate_io;

/* Returns a reader for one stream, or NULL if memory is short. It has 12 KiB. */
rdk_inflate *rdk_inflate_new(void);
void rdk_inflate_free(rdk_inflate *inflate);
/* Makes the reader ready for the next stream. */
void rdk_inflate_reset(rdk_inflate *inflate);

/* Inflates as far as input and output allow. Returns one of rdk_inflate_status; RDK_E_CORRUPT; or RDK_E_ARGUMENT:
 * neither plain bytes nor tokens are wanted, or `bit` is more than the input has. Input is consumed symbol by symbol,
 * so a call whose input is cut anywhere gives the same as one call with all of it. */
int rdk_inflate_run(rdk_inflate *inflate, rdk_inflate_io *io);

/* ---- encoder models -------------------------------------------------------------------------------------------- */

/* Returns the number of models. */
int rdk_model_count(void);
/* Returns the id of the model at `index` (from 0 on) of the table, or RDK_E_ARGUMENT. */
int rdk_model_at(int index);
/* Returns the model's name, a static string, or NULL if there is no such model. */
const char *rdk_model_name(int id);

typedef struct rdk_model_facts {
    uint32_t warmup_bytes;    /* plain bytes that must be at hand before a segment */
    uint32_t lookahead_bytes; /* ... and after it, unless the member ends earlier */
    uint32_t segment_bytes;   /* a segment ends at the first block boundary at or after this many plain bytes */
    uint32_t align_bytes;     /* more than 0: ... and only at a multiple of this in the member */
    int level;                /* the level that a user would give; -1: none */
    int reuses_tokens;        /* 1: it can reuse tokens of donors */
} rdk_model_facts;

/* Sets `facts`. RDK_E_ARGUMENT: there is no such model. */
int rdk_model_describe(int id, rdk_model_facts *facts);

/* Returns the number that goes with a member under this model (zlib's memory level, pigz's block size), judged by its
 * first blocks; 0 if the model has none or these do not tell. */
uint32_t rdk_model_detect(int id, const rdk_block_info *blocks, size_t count);

/* ---- segments -------------------------------------------------------------------------------------------------- */

/* One segment: consecutive whole blocks of one member. */
typedef struct rdk_segment {
    const uint8_t *plain;  /* warm-up, segment, lookahead */
    uint32_t start, stop;  /* the segment in `plain` */
    uint32_t length;       /* of `plain`: at most 1 GiB */
    uint64_t offset;       /* of plain[0] in the member */
    int ends;              /* the member's plain bytes end at `length` */
    int last;              /* the segment holds the member's final block */
    int model;             /* its id */
    uint32_t member_param; /* of rdk_model_detect */
    uint32_t bit;          /* 0 to 7: where in its first wire byte the segment begins */
} rdk_segment;

/* Writes the segment's wire bits; the bits before `bit` in the first byte and after the end in the last one are 0.
 * *wire_bits becomes the number of bits, without the first `bit`. An empty recipe says that the model is right about
 * everything. RDK_E_CORRUPT: recipe and segment do not agree. RDK_E_LIMIT: a block has more than 2^19 tokens. Allocates
 * the model's state (up to 1 MiB), 2 MiB for tokens, and what the recipe lists (up to 10 MiB). */
int rdk_segment_rebuild(const rdk_segment *segment, const uint8_t *recipe, size_t recipe_length, uint8_t *wire,
                        size_t wire_capacity, uint64_t *wire_bits);

/* A range of a segment's plain bytes and the tokens of a donor there: an older stream by the same model and parameter,
 * whose tokens are all the model's own. Where both streams have the same bytes, most of the donor's tokens are the
 * segment's as well and need no search. */
typedef struct rdk_donor_range {
    const uint8_t *plain;   /* the donor's bytes: plain[0] is aligned with segment->plain[begin] */
    uint32_t begin, end;    /* indexes into segment->plain */
    uint64_t offset;        /* of plain[0] in the donor's member */
    const uint32_t *tokens; /* as rdk_segment_tokens gives them, of one donor segment after the other */
    size_t token_count;
    int64_t token_begin; /* where the first of them begins, as an index into segment->plain; may be negative */
} rdk_donor_range;

/* rdk_segment_rebuild for a segment with an empty recipe, helped by donor ranges in ascending order that do not
 * overlap. The bits are those of rdk_segment_rebuild whatever the donors hold, provided that they are what they claim.
 * A model that cannot reuse tokens ignores them. */
int rdk_segment_rebuild_reusing(const rdk_segment *segment, const rdk_donor_range *donors, size_t count, uint8_t *wire,
                                size_t wire_capacity, uint64_t *wire_bits);

/* The same with the segment's token delta (of rdk_token_delta) against these very donors, whose plain bytes are not
 * read then and may be NULL. The delta is trusted, not verified: the bits are right if it is. RDK_E_CORRUPT: it cannot
 * be this segment's. */
int rdk_segment_rebuild_by_delta(const rdk_segment *segment, const rdk_donor_range *donors, size_t count,
                                 const uint8_t *delta, size_t delta_length, uint8_t *wire, size_t wire_capacity,
                                 uint64_t *wire_bits);

/* Writes the edit script that turns the donors' tokens into those of a segment that begins at index `start` of its
 * plain bytes. Returns its length, RDK_E_OUTPUT_FULL or RDK_E_MEMORY. *copied becomes the number of the segment's bytes
 * for which the donors' tokens stand. The donors' plain bytes are not read. Allocates a byte for each token. */
int64_t rdk_token_delta(uint32_t start, const uint32_t *tokens, size_t token_count, const rdk_donor_range *donors,
                        size_t count, uint8_t *delta, size_t capacity, uint64_t *copied);

/* In the tokens of donors a stored block of n bytes is one token, RDK_STORED_SPAN + n. */
enum { RDK_STORED_SPAN = 1 << 30 };

/* Writes the tokens of a segment of `plain_length` bytes that begins at `bit` (0 to 7) of wire[0]. Returns their
 * number, RDK_E_OUTPUT_FULL, RDK_E_MEMORY, or RDK_E_CORRUPT: the wire bytes are not such a segment, or it has more than
 * 4,096 blocks. Allocates 140 KiB. */
int64_t rdk_segment_tokens(const uint8_t *wire, size_t wire_length, uint32_t bit, uint32_t plain_length,
                           uint32_t *tokens, size_t capacity);

/* Finds the recipe of a real segment of `wire_bits` bits that begins at bit segment->bit of wire[0], and proves it: the
 * segment was rebuilt with it and compared. *corrections becomes the number of things that the recipe says.
 * RDK_E_OUTPUT_FULL: the recipe does not fit `recipe_capacity`. RDK_E_LIMIT: more than `corrections_max` corrections.
 * RDK_E_CORRUPT: the wire bits are not this segment. Allocates what rebuilding does, half more than wire_length, and
 * five times the segment's plain bytes and 3 MiB. */
int rdk_segment_plan(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                     uint32_t corrections_max, uint8_t *recipe, size_t recipe_capacity, size_t *recipe_length,
                     uint32_t *corrections);

/* Sets scores[i] to how near the i-th of `count` models comes to a real segment: corrections and mispredicted chunks.
 * UINT32_MAX: more than `score_max`, or than twice the best score before it and 4. 0: the segment was rebuilt, compared
 * and is the same; models behind the first such one are not tried. segment->model and member_param are ignored.
 * Allocates as rdk_segment_plan. */
int rdk_segment_trial(const rdk_segment *segment, const uint8_t *wire, size_t wire_length, uint64_t wire_bits,
                      const uint16_t *models, const uint32_t *member_params, size_t count, uint32_t score_max,
                      uint32_t *scores);
