/* Go's compress/flate 1.19 to 1.26: BestSpeed (1), NoCompression (0) and HuffmanOnly (-2). All three take chunks of
 * 65,535 bytes.
 *
 * BestSpeed (deflatefast.go, after Snappy) keeps one table of positions and their four bytes over all chunks, probes
 * ever more sparsely while nothing matches, and searches up to 15 bytes before a chunk's end. Matches may begin in the
 * chunk before but never cross the chunk's end. Chunks with few matches are written as literals only or stored, so
 * their tokens are hidden. A last chunk under 128 bytes is not searched at all. */
#include "encoder.h"
#include "go_blocks.h"

enum {
    CHUNK = RDK_GO_STORED_BYTES_MAX, /* maxStoreBlockSize */
    TABLE_BITS = 14,                 /* tableBits */
    MARGIN = 15,                     /* inputMargin */
    /* encSpeed: shorter input before a flush is written as literals, the shortest is stored. */
    SMALL_CHUNK = 128,
    TINY_CHUNK = 16,
    /* Entries are indexes plus this, so that an empty entry, 0, is more than a window away from every position. */
    PRESENT = 2 * RDK_WINDOW,
    /* Which positions are in the table depends on the parse of the chunk before, whose parse depends on the one before
     * that. After three chunks a simulation has mostly met the real parse; where it has not, the recipe has
     * corrections. */
    WARMUP = 3 * CHUNK
};

typedef struct entry {
    uint32_t bytes;
    uint32_t position; /* plus PRESENT */
} entry;

typedef struct state {
    entry table[1 << TABLE_BITS];
} state;

static inline uint32_t hash(uint32_t bytes) { return (bytes * 0x1e35a7bdu) >> (32 - TABLE_BITS); }

static inline bool usable(entry candidate, uint32_t bytes, uint32_t position) {
    return position + PRESENT - candidate.position <= RDK_WINDOW && candidate.bytes == bytes;
}

/* Finds the next match from *position on, entering what it passes; false: none before `last`. */
static inline bool scan(state *s, const uint8_t *plain, uint32_t *position, uint32_t last, entry *found) {
    uint32_t skip = 32, at, next = *position, bytes = rdk_load32(plain + next), slot = hash(bytes);
    for (;;) {
        at = next;
        uint32_t step = skip >> 5;
        next = at + step;
        skip += step;
        if (next > last) return false;
        entry candidate = s->table[slot];
        uint32_t ahead = rdk_load32(plain + next);
        s->table[slot] = (entry){bytes, at + PRESENT};
        slot = hash(ahead);
        if (usable(candidate, bytes, at)) {
            *found = candidate;
            *position = at;
            return true;
        }
        bytes = ahead;
    }
}

/* Emits the tokens of [position, stop); returns the position reached. */
static uint32_t encode_chunk(rdk_run *run, state *s, uint32_t position, uint32_t stop) {
    const uint8_t *plain = run->plain;
    uint32_t emitted = position, last = stop - MARGIN;
    entry found;
    if (stop - position < SMALL_CHUNK) {
        memset(s, 0, sizeof *s);
        return rdk_emit_literals(run, position, stop);
    }
    while (position < last && scan(s, plain, &position, last, &found)) {
        uint32_t reached = rdk_emit_literals(run, emitted, position);
        bool again = reached == position;
        while (again) {
            uint32_t from = found.position - PRESENT,
                     limit = stop - position < RDK_MATCH_MAX ? stop - position : RDK_MATCH_MAX;
            uint32_t length = 4 + rdk_equal_short(plain + position + 4, plain + from + 4, limit - 4);
            reached = rdk_emit_match(run, position, length, position - from);
            if (reached != position + length || reached >= last) break;
            position = reached;
            uint64_t bytes = rdk_load64(plain + position - 1);
            s->table[hash((uint32_t)bytes)] = (entry){(uint32_t)bytes, position - 1 + PRESENT};
            uint32_t here = (uint32_t)(bytes >> 8), slot = hash(here);
            found = s->table[slot];
            s->table[slot] = (entry){here, position + PRESENT};
            again = usable(found, here, position);
        }
        if (rdk_done(run)) return reached;
        emitted = reached;
        position = reached;
        if (!again && reached == emitted && reached < last) position = reached + 1;
    }
    return emitted < stop ? rdk_emit_literals(run, emitted, stop) : emitted;
}

static void simulate(rdk_run *run) {
    uint32_t position = run->begin;
    while (position < run->stop && !rdk_done(run)) {
        uint32_t stop = rdk_chunk_stop(run, position, CHUNK);
        if (run->model->parameter == 1) position = encode_chunk(run, run->state, position, stop);
        else position = rdk_emit_literals(run, position, stop);
        if (position >= stop) rdk_end_block(run, position);
    }
    if (run->last) rdk_marker(run, run->stop, RDK_STORED, true);
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    uint32_t plain_length = block->plain_length;
    int how = run->model->parameter;
    if (want == RDK_LITERALS) {
        rdk_go_literals(block, true);
    } else if (want != RDK_AUTO) {
        rdk_go_dynamic(block);
    } else if (how == 0 || (how == 1 && plain_length <= TINY_CHUNK)) {
        block->kind = RDK_STORED;
    } else if (how == -2 || plain_length < SMALL_CHUNK || block->token_count > plain_length - (plain_length >> 4)) {
        rdk_go_literals(block, false);
    } else {
        uint64_t bits = rdk_go_dynamic(block); /* without the extra bits, as it counts them */
        if (rdk_go_stored_bits(plain_length) < bits + (bits >> 4)) block->kind = RDK_STORED;
    }
}

static const rdk_model models[] = {
    {.id = 0x0101,
     .name = "go-1.19-level-1",
     .level = 1,
     .flags = RDK_GRID | RDK_HIDES,
     .warmup_bytes = WARMUP,
     .segment_bytes = 4 << 20,
     .grid_bytes = CHUNK,
     .state_bytes = sizeof(state),
     .parameter = 1,
     .simulate = simulate,
     .choose = choose},
    {.id = 0x0100,
     .name = "go-1.19-level-0",
     .level = 0,
     .flags = RDK_GRID | RDK_HIDES,
     .segment_bytes = 1 << 20,
     .parameter = 0,
     .simulate = simulate,
     .choose = choose},
    {.id = 0x010a,
     .name = "go-1.19-huffman-only",
     .level = RDK_NO_LEVEL,
     .flags = RDK_GRID | RDK_HIDES,
     .segment_bytes = 1 << 20,
     .parameter = -2,
     .simulate = simulate,
     .choose = choose},
};

const rdk_family rdk_family_go_fast = {models, sizeof models / sizeof *models};
