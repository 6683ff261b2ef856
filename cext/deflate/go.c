/* Go compress/flate 1.19 to 1.26, levels 2 to 9: hash chains over four bytes, a two-window buffer, blocks of 16,384
 * tokens.
 *
 * Facts that make the output exact:
 * - hash of 17 bits over four bytes, most significant first; matches of 4 to 258 at distances up to 32,768, of length 4
 * only up to 4,096;
 * - levels 4-9 defer: a match is written when the next position has no longer one; every position is inserted. At a
 * block boundary nothing is pending that a fresh search would not find again, and the chains depend on the last 32 KiB
 * alone, so a segment needs no simulated warm-up;
 * - levels 2-3 write the first match and insert the positions inside only if it is short, so chains depend on the
 * parse;
 * - the buffer holds two windows and slides by one when fewer than 262 bytes are left in it: just after a slide the
 *   search reaches back to the buffer's beginning, less than a full window;
 * - a block whose first byte has slid out of the buffer cannot be stored;
 * - the last 3 positions before the end are not inserted; the stream ends with an empty stored block. */
#include "go.h"
#include "token_reuse.h"

enum {
    WINDOW = 1 << 15,
    HASH_BITS = 17,
    SHORTEST = 4,
    NEAR_FOR_SHORTEST = 4096,
    BLOCK_TOKENS = 1 << 14,
    NONE = UINT16_MAX,    /* beyond any window */
    PRESENT = WINDOW + 1, /* so that nothing is farther away than a window */
    AHEAD = 4,            /* how far before their use hash heads are fetched */
    SLIDE_AT = 2 * WINDOW - (SHORTEST + RDK_MATCH_MAX) + 1
};

typedef struct level {
    uint32_t lazy, nice, chain, insert_up_to; /* insert_up_to 0: deferred matching, everything is inserted */
} level;

static const level levels[10] = {
    [2] = {0, 16, 8, 5},     [3] = {0, 32, 32, 6},    [4] = {4, 16, 16, 0},      [5] = {16, 32, 32, 0},
    [6] = {16, 128, 128, 0}, [7] = {32, 128, 256, 0}, [8] = {128, 258, 1024, 0}, [9] = {258, 258, 4096, 0},
};

typedef struct state {
    int64_t base;                  /* index of the buffer's first byte; negative before plain[0] */
    int64_t slide_at;              /* index from which it slides before the next token */
    uint32_t head[1 << HASH_BITS]; /* index + PRESENT; 0: none */
    uint16_t back[WINDOW];         /* distance to the one before in the chain; NONE: none within a window */
    rdk_follower follower;
} state;

static inline uint32_t hash_of(uint32_t four) { return (four * 0x1e35a7bdu) >> (32 - HASH_BITS); }
static inline uint32_t hash4(const uint8_t *at) { return hash_of(__builtin_bswap32(rdk_load32(at))); }

/* Returns the previous head of the chain. */
static inline uint32_t link_in(state *s, uint32_t hash, uint32_t position) {
    uint32_t head = s->head[hash], distance = position + PRESENT - head;
    s->head[hash] = position + PRESENT;
    s->back[position & (WINDOW - 1)] = distance <= WINDOW ? (uint16_t)distance : NONE;
    return head;
}

static inline uint32_t insert(state *s, const uint8_t *plain, uint32_t position) {
    return link_in(s, hash4(plain + position), position);
}

/* Many at once: [from, to). */
static inline void insert_all(state *s, const uint8_t *plain, uint32_t from, uint32_t to) {
    for (; from + 8 <= to; from += 4) {
        uint64_t bytes = __builtin_bswap64(rdk_load64(plain + from));
        for (uint32_t i = 0; i < 4; i++) link_in(s, hash_of((uint32_t)(bytes >> (32 - 8 * i))), from + i);
    }
    for (; from < to; from++) insert(s, plain, from);
}

static void set_base(state *s, const rdk_run *run, int64_t base) {
    s->base = base;
    /* The buffer slides only to take more input. */
    s->slide_at = run->ends && base + 2 * WINDOW >= (int64_t)run->length ? INT64_MAX : base + SLIDE_AT;
}

static inline void slide(state *s, const rdk_run *run, uint32_t position) {
    while (position >= s->slide_at) set_base(s, run, s->base + WINDOW);
}

/* The longest match at `position` among `tries` candidates, its distance in *distance; `least` if none is longer: at
 * least 3, less than `lookahead`. */
static inline uint32_t search(const state *s, const uint8_t *plain, uint32_t position, uint32_t head,
                              uint32_t lookahead, uint32_t least, const level *p, uint32_t *distance) {
    uint32_t most = lookahead < RDK_MATCH_MAX ? lookahead : RDK_MATCH_MAX, nice = p->nice < most ? p->nice : most;
    uint32_t length = least, tries = p->chain;
    int64_t lowest = (int64_t)position - WINDOW > s->base ? (int64_t)position - WINDOW : s->base;
    uint32_t floor = lowest > 0 ? (uint32_t)lowest : 0;
    const uint8_t *here = plain + position;
    const uint8_t *ends = plain + length - 3; /* from a candidate: the four bytes that end one beyond the best length */
    uint32_t tail = rdk_load32(ends + position);
    if (head < floor + PRESENT) return length;
    for (size_t at = head - PRESENT;;) {
        size_t back = s->back[at & (WINDOW - 1)];
        if (__builtin_expect(rdk_load32(ends + at) == tail, 0)) {
            uint32_t n = rdk_common(plain + at, here, most), far = position - (uint32_t)at;
            if (n > length && (n > SHORTEST || far <= NEAR_FOR_SHORTEST)) {
                length = n;
                *distance = far;
                if (n >= nice) break;
                ends = plain + length - 3;
                tail = rdk_load32(ends + position);
            }
        }
        if (--tries == 0 || at - floor < back) break;
        at -= back;
    }
    return length;
}

/* Up to `to`, from one after `position`, which is inserted already. */
static inline void insert_inside(state *s, const rdk_run *run, uint32_t position, uint32_t to, uint32_t insert_stop) {
    insert_all(s, run->plain, position + 1, to < insert_stop ? to : insert_stop);
}

/* The input at hand, of which the encoder knows no end but this one. */
typedef struct input {
    uint32_t end, insert_stop;
} input;

static input input_at(const rdk_run *run, uint32_t position) {
    uint32_t horizon = rdk_horizon(run, position), end = horizon < run->length ? horizon : run->length;
    return (input){end, end > 3 ? end - 3 : 0};
}

/* From a token boundary on: literals up to and with the next match. False when the input or the run ended before one.
 */
static inline bool deferred_match(rdk_run *run, state *s, const level *p, const input *in, uint32_t *from) {
    uint32_t position = *from, length = SHORTEST - 1, distance = 0, reached;
    bool pending = false;
    for (;;) {
        slide(s, run, position);
        uint32_t lookahead = in->end - position;
        if (lookahead == 0) {
            if (pending) rdk_emit_literal(run, position - 1);
            *from = position;
            return false;
        }
        uint32_t head = 0;
        if (position < in->insert_stop) {
            head = insert(s, run->plain, position);
            if (position + AHEAD < in->insert_stop)
                __builtin_prefetch(&s->head[hash4(run->plain + position + AHEAD)], 1);
        }
        uint32_t before = length, before_distance = distance;
        length = SHORTEST - 1;
        if (head && lookahead > before && before < p->lazy)
            length = search(s, run->plain, position, head, lookahead, before, p, &distance);
        if (before >= SHORTEST && length <= before) {
            reached = rdk_emit_match(run, position - 1, before, before_distance);
        } else if (pending) {
            reached = rdk_emit_literal(run, position - 1);
        } else {
            reached = position;
        }
        if (reached != position) break;
        pending = true;
        position++;
    }
    if (!rdk_done(run)) insert_inside(s, run, position, reached, in->insert_stop);
    *from = reached;
    return !rdk_done(run);
}

static void deferred(rdk_run *run, state *s, const level *p) {
    uint32_t position = run->start;
    input in = input_at(run, position);
    for (;;) {
        while (deferred_match(run, s, p, &in, &position)) {}
        if (rdk_done(run) || in.end >= run->length) return;
        rdk_end_block(run, position);
        in = input_at(run, position);
        if (in.end <= position) return;
    }
}

/* From here in a window on, after a slide, a search reaches back to the buffer's beginning and no further. */
enum { SHORT_FROM = SLIDE_AT - WINDOW, BEYOND = WINDOW - SHORT_FROM };

typedef struct beginnings { /* of the buffers after the next slides, as indexes into `plain` */
    int64_t ours, theirs;
} beginnings;

static int64_t beginning_after(uint64_t offset, uint32_t position) {
    return (int64_t)position - (int64_t)(offset & (WINDOW - 1));
}

/* Taints what one of both encoders did not reach; returns the next beginning. */
static inline int64_t pass_slide(rdk_follower *f, int64_t beginning, uint32_t position) {
    while (position >= beginning + SHORT_FROM) {
        rdk_taint_range(f, beginning - BEYOND, beginning, hash4);
        beginning += WINDOW;
    }
    return beginning;
}

/* Tokens before this position need no closer look than whether the donor has one there. */
static uint32_t calm_until(const rdk_follower *f, const beginnings *next, uint32_t position) {
    int64_t slide = (next->ours < next->theirs ? next->ours : next->theirs) + SHORT_FROM - 1;
    int64_t stop = (int64_t)f->differs - RDK_REACH + 1;
    if (slide < stop) stop = slide;
    return stop < 0 || rdk_in_window(f->last_noted, position) ? 0 : (uint32_t)stop;
}

/* Whether the group of the token at `position` certainly stays as it is. */
static inline bool is_certain(rdk_follower *f, uint32_t position) {
    rdk_see_group(f);
    return f->group_reach <= f->differs && !rdk_has_echo(f, position, (uint32_t)f->group_reach);
}

/* Takes over the donor's tokens from the boundary `position` on while they are certain; returns the boundary reached.
 */
static uint32_t take_over(rdk_run *run, state *s, rdk_follower *f, beginnings *next, uint32_t position) {
    const rdk_donor_range *p = f->donor;
    bool origin = f->begin == 0 && run->offset == 0 && p->offset == 0;
    uint32_t calm = 0, untainted = UINT32_MAX, certain = 0;
    if ((!origin && position < f->begin + WINDOW) || position + RDK_REACH > f->end || !rdk_in_step(f, position))
        return position;
    while (f->token < p->token_count) {
        rdk_token token = p->tokens[f->token];
        if (token & RDK_STORED_SPAN) break;
        if (position >= calm) {
            rdk_look(f, position, hash4); /* first, for it forgets what was noted too long ago */
            next->ours = pass_slide(f, next->ours, position + 1);
            next->theirs = pass_slide(f, next->theirs, position + 1);
            calm = calm_until(f, next, position);
        }
        if (position >= calm) {
            if (f->token >= certain) {
                if (!is_certain(f, position)) break;
                certain = f->group_stop;
            }
            if (position != untainted && rdk_is_tainted(f, position, hash4)) break;
            untainted = position + 1; /* which the next token looks at again if this one is a literal */
            if (rdk_is_tainted(f, untainted, hash4)) break;
        }
        uint32_t reached = position + rdk_token_span(token);
        slide(s, run, position + 1);
        f->token++;
        f->at += reached - position;
        position = rdk_emit(run, position, token, reached);
        if (position != reached || rdk_done(run)) break;
    }
    return position;
}

/* Searches from the boundary `position` on up to the first one at `goal` or behind it, which it returns. Chains are
 * filled before. */
static uint32_t search_to(rdk_run *run, state *s, const level *p, const input *in, uint32_t *filled, uint32_t position,
                          uint32_t goal) {
    if (position - *filled > WINDOW) *filled = position - WINDOW;
    if (*filled < position) insert_all(s, run->plain, *filled, position < in->insert_stop ? position : in->insert_stop);
    while (position < goal && deferred_match(run, s, p, in, &position)) {}
    *filled = position;
    return position;
}

/* As `deferred`, for a run without stated chunks. Chains are filled only where something is searched. */
static void beside(rdk_run *run, state *s, const level *p) {
    const rdk_donor_range *donor = run->donors, *stop = donor + run->donor_count;
    uint32_t position = run->start, filled = run->begin;
    input in = input_at(run, position);
    beginnings next = {0, 0};
    bool following = false, more = true;
    while (more && !rdk_done(run)) {
        for (; donor < stop && position >= donor->end; donor++) following = false;
        if (!following && donor < stop && position >= donor->begin) {
            rdk_follow(&s->follower, donor, run->plain);
            next.ours = beginning_after(run->offset + position, position);
            next.theirs = beginning_after(donor->offset + (position - donor->begin), position);
            following = true;
        }
        if (following) position = take_over(run, s, &s->follower, &next, position);
        if (rdk_done(run)) return;
        uint32_t from = position;
        position = search_to(run, s, p, &in, &filled, position, position + 1);
        more = position > from;
    }
}

/* Emits a token that is known; RDK_NO_TOKEN: the delta is wrong. */
static void take(rdk_run *run, state *s, uint32_t *position, rdk_token token) {
    if (token == RDK_NO_TOKEN) {
        rdk_refuse(run);
        return;
    }
    slide(s, run, *position + 1);
    *position = rdk_emit(run, *position, token, *position + rdk_token_span(token));
}

/* As `beside`, but what stays is stated. */
static void by_delta(rdk_run *run, state *s, const level *p) {
    rdk_reader steps = {run->delta, run->delta + run->delta_length, false};
    rdk_old_tokens old = {.next = run->donors, .stop = run->donors + run->donor_count};
    uint32_t position = run->start, filled = run->begin;
    input in = input_at(run, position);
    while (!rdk_done(run) && position < run->stop) {
        rdk_step step = rdk_next_step(&steps, run->stop - position);
        uint32_t left = step.count, from = position;
        if (left == 0) rdk_refuse(run);
        switch (step.kind) {
        case RDK_STEP_COPY:
            while (left && !rdk_done(run)) {
                rdk_token token = rdk_old_token_at(&old, position);
                uint32_t copied = token == RDK_NO_TOKEN ? 0 : rdk_copy_tokens(run, &old, &position, left);
                if (copied == 0) take(run, s, &position, token);
                left -= copied ? copied : 1;
            }
            break;
        case RDK_STEP_STATE:
            for (; left && !rdk_done(run); left--)
                take(run, s, &position, rdk_next_stated(&steps, run->plain[position]));
            break;
        default:
            position =
                search_to(run, s, p, &in, &filled, position, left < run->stop - position ? position + left : run->stop);
            if (position == from) return;
        }
    }
}

static void immediate(rdk_run *run, state *s, const level *p) {
    uint32_t position = run->begin, end = run->length, insert_stop = end > 3 ? end - 3 : 0;
    while (position < end && !rdk_done(run)) {
        slide(s, run, position);
        uint32_t lookahead = end - position, distance = 0, length = SHORTEST - 1, reached;
        uint32_t head = position < insert_stop ? insert(s, run->plain, position) : 0;
        if (head && lookahead >= SHORTEST)
            length = search(s, run->plain, position, head, lookahead, length, p, &distance);
        if (length < SHORTEST) {
            reached = rdk_emit_literal(run, position);
        } else {
            reached = rdk_emit_match(run, position, length, distance);
            if (reached - position <= p->insert_up_to) insert_inside(s, run, position, reached, insert_stop);
        }
        position = reached;
    }
}

static void simulate(rdk_run *run) {
    state *s = run->state;
    const level *p = &levels[run->model->parameter];
    uint32_t first = p->insert_up_to ? run->begin : run->start;
    run->block_tokens = BLOCK_TOKENS;
    set_base(s, run, -(int64_t)run->offset);
    slide(s, run, first);
    if (p->insert_up_to) {
        immediate(run, s, p);
    } else if (run->delta) {
        by_delta(run, s, p);
    } else if (run->donor_count) {
        beside(run, s, p);
    } else {
        uint32_t most = run->length > SHORTEST - 1 ? run->length - (SHORTEST - 1) : 0;
        insert_all(s, run->plain, run->begin, run->start < most ? run->start : most);
        deferred(run, s, p);
    }
    if (run->last) {
        rdk_end_block(run, run->stop);
        rdk_marker(run, run->stop, RDK_STORED, true);
    }
}

uint64_t rdk_go_dynamic(rdk_block *block) {
    uint32_t literals = RDK_LITERAL_CODES, distances = RDK_DISTANCE_CODES;
    while (block->literal_counts[literals - 1] == 0) literals--;
    while (distances > 0 && block->distance_counts[distances - 1] == 0) distances--;
    if (distances == 0) block->distance_counts[0] = distances = 1;
    memset(block->literal_lengths, 0, sizeof block->literal_lengths);
    memset(block->distance_lengths, 0, sizeof block->distance_lengths);
    rdk_limited_lengths(block->literal_counts, RDK_LITERAL_CODES, 15, block->literal_lengths);
    rdk_limited_lengths(block->distance_counts, RDK_DISTANCE_CODES, 15, block->distance_lengths);
    rdk_joint_header(block, literals, distances);
    block->kind = RDK_DYNAMIC;
    return 3 + block->header_bits + rdk_symbol_bits(block->literal_counts, block->literal_lengths, RDK_LITERAL_CODES) +
           rdk_symbol_bits(block->distance_counts, block->distance_lengths, RDK_DISTANCE_CODES);
}

void rdk_go_literals(rdk_block *block, bool forced) {
    memset(block->literal_counts, 0, sizeof block->literal_counts);
    memset(block->distance_counts, 0, sizeof block->distance_counts);
    for (uint32_t i = 0; i < block->plain_length; i++) block->literal_counts[block->plain[i]]++;
    block->literal_counts[RDK_END_OF_BLOCK] = 1;
    uint64_t bits = rdk_go_dynamic(block);
    bool poor = rdk_go_stored_bits(block->plain_length) < bits + (bits >> 4);
    block->kind = poor && !forced ? RDK_STORED : RDK_LITERALS;
}

static void choose(rdk_run *run, rdk_block *block, uint8_t want) {
    static const uint8_t five[30] = {5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
                                     5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5};
    const state *s = run->state;
    if (want == RDK_LITERALS) {
        rdk_go_literals(block, true);
        return;
    }
    uint64_t bits = rdk_go_dynamic(block);
    if (want != RDK_AUTO) return;
    uint64_t fixed = 3 + rdk_symbol_bits(block->literal_counts, rdk_fixed_literal_lengths, RDK_LITERAL_CODES) +
                     rdk_symbol_bits(block->distance_counts, five, RDK_DISTANCE_CODES);
    if (fixed <= bits) {
        block->kind = RDK_FIXED;
        bits = fixed;
    }
    bool at_hand = (int64_t)(block->plain_offset - run->offset) >= s->base && block->plain_length <= GO_CHUNK_BYTES;
    if (at_hand && rdk_go_stored_bits(block->plain_length) < bits + rdk_extra_bits(block)) block->kind = RDK_STORED;
}

#define GO_LEVEL(n, warmup)                  \
    {.id = 0x0100 + n,                       \
     .name = "go-1.19-level-" #n,            \
     .level = n,                             \
     .warmup_bytes = warmup,                 \
     .lookahead_bytes = 1024,                \
     .segment_bytes = 1 << 20,               \
     .flags = n > 3 ? RDK_REUSES_TOKENS : 0, \
     .state_bytes = sizeof(state),           \
     .parameter = n,                         \
     .simulate = simulate,                   \
     .choose = choose}

static const rdk_model models[] = {
    GO_LEVEL(6, WINDOW), GO_LEVEL(9, WINDOW), GO_LEVEL(5, WINDOW),    GO_LEVEL(4, WINDOW),
    GO_LEVEL(7, WINDOW), GO_LEVEL(8, WINDOW), GO_LEVEL(2, 192 << 10), GO_LEVEL(3, 192 << 10),
};

const rdk_family rdk_family_go = {models, sizeof models / sizeof *models};
