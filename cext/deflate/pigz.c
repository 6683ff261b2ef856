/* The models of pigz: zlib in pieces. The input is cut into jobs (128 KiB by default); every job is flushed to a whole
 * byte.
 *
 * With several threads each job is a new stream of zlib's with the 32 KiB before it as dictionary. With one thread (-p
 * 1) one stream continues over the flushes. With -i each job begins with nothing. With --rsyncable the input also
 * decides where flushes are. */
#include "zlib_trees.h"
#include "zlib_walk.h"

enum {
    BLOCK_TOKENS = 16383, /* memLevel 8 */
    HASH_BITS = 15,       /* memLevel 8 */
    JOB_MIN = 32768,      /* pigz takes no smaller block size (-b 32) */
    JOB_DEFAULT = 131072, /* -b 128 */
    HASHED_BYTES = 12     /* --rsyncable: RSYNCBITS, what its rolling hash sees */
};

/* rdk_model.parameter: how jobs follow one another. */
enum { THREADED = 0, SINGLE = 1, INDEPENDENT = 2, RSYNCABLE = 4 };
static bool is(const rdk_run *run, int what) { return run->model->parameter & what; }

/* The member's parameter is the job's length: the greatest that all flushes agree with, for not every job leaves a
 * marker. */
static uint32_t detect_job(const rdk_block_info *blocks, size_t count) {
    uint64_t job = 0;
    bool has_default = false;
    for (size_t i = 0; i + 1 < count; i++) {
        has_default = has_default || blocks[i + 1].plain_start == JOB_DEFAULT;
        if (blocks[i].plain_start != blocks[i + 1].plain_start || blocks[i].type == 2) continue;
        for (uint64_t a = blocks[i].plain_start, b; a != 0; a = b) { /* greatest common divisor */
            b = job % a;
            job = a;
        }
    }
    if (job == 0 && has_default) return JOB_DEFAULT; /* stored blocks end at whole bytes: no markers */
    return job >= JOB_MIN && job <= UINT32_MAX ? (uint32_t)job : 0;
}

/* ---- where the input is cut ------------------------------------------------------------------------------------ */

/* --rsyncable cuts behind a byte at which a hash of the last twelve bytes has one value out of 4,096. Returns the first
 * such position after `position` and not after `limit`; 0 if there is none. */
static uint32_t next_hit(const rdk_run *run, uint32_t position, uint32_t limit) {
    enum { MASK = 0xfff, HIT = 0x7ff };
    uint32_t at = position < HASHED_BYTES ? 0 : position - HASHED_BYTES, hash = HIT;
    while (at < limit) {
        hash = (hash << 1 ^ run->plain[at++]) & MASK;
        if (hash == HIT && at > position) return at;
    }
    return 0;
}

/* Returns the start of the job that holds the byte at `position`: an index that wraps around below 0. */
static uint32_t job_start(const rdk_run *run, uint32_t position) {
    uint64_t at = run->offset + position;
    return run->member_param ? (uint32_t)(at - at % run->member_param - run->offset) : (uint32_t)(0 - run->offset);
}

/* Returns where the piece ends that began at `start` and holds `position`. With --rsyncable a job ends when no hit came
 * for its length; it began at the last hit, because the job before ended with that. */
static uint32_t piece_end(const rdk_run *run, uint32_t start, uint32_t position) {
    uint64_t end = run->length, job = run->member_param ? run->member_param : JOB_DEFAULT, at = run->offset + position;
    if (is(run, RSYNCABLE)) end = start + ((position - start) / job + 1) * job;
    else if (run->member_param) end = at - at % job + job - run->offset;
    if (end > run->length) end = run->length;
    uint32_t hit = is(run, RSYNCABLE) ? next_hit(run, position, (uint32_t)end) : 0;
    return hit ? hit : (uint32_t)end;
}

/* Returns where the piece began that holds `position`, as far as the bytes at hand tell. */
static uint32_t piece_start(const rdk_run *run, uint32_t position) {
    uint32_t start = run->begin, hit;
    if (!is(run, RSYNCABLE)) return position;
    while ((hit = next_hit(run, start, position)) != 0) start = hit;
    return start;
}

/* ---- the models ------------------------------------------------------------------------------------------------ */

/* Begins a new stream at `position`, whose history begins at index `first`, which may lie before the bytes at hand. */
static void begin_stream(const rdk_run *run, rdk_zlib_walk *walk, uint32_t first, uint32_t position) {
    bool seen = (int32_t)(first - run->begin) >= 0;
    rdk_zlib_restart(&walk->chains, seen ? first : run->begin - RDK_WINDOW, HASH_BITS);
    walk->chains.inserted = seen ? first : run->begin;
    walk->pending_length = 0;
    if (run->model->level <= 3) rdk_zlib_fill(run, walk, walk->chains.inserted, position);
}

/* Returns the index of the oldest byte that the stream knows which compresses `position`. */
static uint32_t history(const rdk_run *run, uint32_t position) {
    uint32_t start = job_start(run, position);
    if (is(run, SINGLE)) return (uint32_t)(0 - run->offset);
    if (is(run, INDEPENDENT)) return is(run, RSYNCABLE) ? position : start;
    return run->offset + start < RDK_WINDOW ? (uint32_t)(0 - run->offset) : start - RDK_WINDOW;
}

/* Fills up to a whole byte: by a stored block if an odd number of bits is missing, else by as many empty fixed blocks,
 * of 10 bits each, as it takes. With -i two stored blocks follow. */
static void flush(rdk_run *run, uint32_t position) {
    rdk_end_block(run, position);
    uint32_t phase = rdk_bit_phase(run);
    if (is(run, INDEPENDENT)) {
        rdk_marker(run, position, RDK_STORED, false);
        rdk_marker(run, position, RDK_STORED, false);
    } else if (phase & 1) {
        rdk_marker(run, position, RDK_STORED, false);
    } else {
        for (; phase != 0; phase = (phase + 2) & 7) rdk_marker(run, position, RDK_FIXED, false);
    }
}

/* Where to begin so that the state is right at the segment's start: fast levels at the start of a job if one is at
 * hand. */
static uint32_t warm_start(const rdk_run *run) {
    if (run->model->level > 3)
        return run->start - run->begin > RDK_ZLIB_RESYNC ? run->start - RDK_ZLIB_RESYNC : run->begin;
    uint32_t job = job_start(run, run->start);
    bool at_hand = !is(run, SINGLE | RSYNCABLE) && (int32_t)(history(run, job) - run->begin) >= 0;
    return at_hand ? job : run->begin;
}

static void simulate(rdk_run *run) {
    rdk_zlib_walk *walk = run->state;
    bool lazy = run->model->level > 3, goes_on = is(run, SINGLE) || (is(run, RSYNCABLE) && !is(run, INDEPENDENT));
    /* A forged recipe with a smaller job than pigz takes would begin a stream every few bytes. */
    if (run->member_param && run->member_param < JOB_MIN) run->member_param = JOB_MIN;
    uint32_t position = warm_start(run);
    walk->effort = rdk_zlib_efforts[run->model->level];
    walk->reach = RDK_WINDOW - RDK_ZLIB_MIN_LOOKAHEAD;
    run->block_tokens = BLOCK_TOKENS;
    begin_stream(run, walk, history(run, position), position);
    uint32_t start = piece_start(run, position);
    while (position < run->stop) {
        uint32_t end = piece_end(run, start, position);
        if (lazy) position = rdk_zlib_lazy(run, walk, position, end, end);
        else position = rdk_zlib_fast(run, walk, position, end, end);
        if (position != end || (run->ends && end == run->length)) continue;
        start = position;
        if (position > run->start) flush(run, position);
        if (!goes_on) begin_stream(run, walk, history(run, position), position);
        else if (!lazy) rdk_zlib_fill(run, walk, end < 2 ? 0 : end - 2, end);
    }
    if (run->last) rdk_end_final(run);
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    uint64_t job = run->member_param ? block->plain_offset - block->plain_offset % run->member_param : 0;
    rdk_zlib_policy policy = {.window = RDK_WINDOW,
                              .refill = RDK_ZLIB_MIN_LOOKAHEAD - 1,
                              .lazy = run->model->level > 3,
                              .plain_end = run->ends ? run->offset + run->length : UINT64_MAX};
    if (!is(run, SINGLE | RSYNCABLE)) {
        bool dictionary = !is(run, INDEPENDENT) && job >= RDK_WINDOW;
        policy.base = dictionary ? job - RDK_WINDOW : job;
        if (run->member_param && policy.plain_end - job > run->member_param) policy.plain_end = job + run->member_param;
    }
    rdk_zlib_choose(block, want, &policy);
}

#define MODEL(ID, NAME, LEVEL, PARAMETER, WARMUP, SEGMENT) \
    {.id = 0x0580 + (ID) + LEVEL,                          \
     .name = NAME #LEVEL,                                  \
     .level = LEVEL,                                       \
     .warmup_bytes = WARMUP,                               \
     .lookahead_bytes = RDK_ZLIB_LOOKAHEAD,                \
     .segment_bytes = SEGMENT,                             \
     .state_bytes = sizeof(rdk_zlib_walk),                 \
     .parameter = PARAMETER,                               \
     .simulate = simulate,                                 \
     .choose = choose,                                     \
     .detect = detect_job}
#define FAST(ID, NAME, LEVEL, P) MODEL(ID, NAME, LEVEL, P, RDK_ZLIB_FAST_WARMUP, 4 << 20)
#define LAZY(ID, NAME, LEVEL, P) MODEL(ID, NAME, LEVEL, P, RDK_ZLIB_LAZY_WARMUP, 1 << 20)
#define LAZY_LEVELS(ID, NAME, P)                                                                                  \
    LAZY(ID, NAME, 4, P), LAZY(ID, NAME, 5, P), LAZY(ID, NAME, 6, P), LAZY(ID, NAME, 7, P), LAZY(ID, NAME, 8, P), \
        LAZY(ID, NAME, 9, P)
#define FAST_LEVELS(ID, NAME, P) FAST(ID, NAME, 1, P), FAST(ID, NAME, 2, P), FAST(ID, NAME, 3, P)
#define LEVELS(ID, NAME, P) FAST_LEVELS(ID, NAME, P), LAZY_LEVELS(ID, NAME, P)

/* The order is the one in which planning tries them; ids are a storage format. A dictionary adds the inside of matches
 * to a fast level's chains; lazy levels have it in them anyway. So lazy levels are the same with one thread as with
 * many, and need not know where jobs begin. With --rsyncable where they begin depends on all jobs before, so there are
 * no fast levels of it. */
static const rdk_model models[] = {
    LEVELS(0x00, "pigz-level-", THREADED),
    FAST_LEVELS(0x10, "pigz-single-thread-level-", SINGLE),
    LEVELS(0x20, "pigz-independent-level-", INDEPENDENT),
    LAZY_LEVELS(0x30, "pigz-rsyncable-level-", RSYNCABLE),
    LEVELS(0x40, "pigz-rsyncable-independent-level-", RSYNCABLE | INDEPENDENT),
};
const rdk_family rdk_family_pigz = {models, sizeof models / sizeof *models};
