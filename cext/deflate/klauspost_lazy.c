/* Levels 7 to 9: hash chains over four bytes, deferred matching, blocks of 32,768 tokens (deflateLazy).
 *
 * The encoder fills a buffer of two windows and searches until fewer than 262 bytes are left in it; then the buffer
 * moves on by a window. What shows in the output: matches do not begin before the buffer; level 9 weighs matches by a
 * literal code made of the bytes that lie ahead in the buffer when it was filled; blocks written while the last buffer
 * is searched are "flushed" ones; a block whose beginning has left the buffer cannot be stored. Every position is
 * inserted once, so the chains depend on the last window's bytes alone; the rest of the state is found again by
 * simulating from shortly before a segment. */
#include "klauspost_matchers.h"

/* Constants of deflate.go. */
enum {
    HASH_BITS = 17,                  /* hashBits */
    SHORTEST = 4,                    /* minMatchLength */
    LEFT = SHORTEST + RDK_MATCH_MAX, /* fewer bytes ahead: the buffer moves on */
    SKIPPED = 2,                     /* checkOff: bytes that need not agree in the search from a match's end */
    WEIGHED_CHAIN_MIN = 100,         /* levels with so long a chain, level 9, weigh matches (findMatch) */
    GAIN_MIN = 4,                    /* cGain: bits that a match must save */
    BASE_COST = 3,                   /* baseCost: bits of every match beside its extra bits */
    EARLY_BASE_COST = 6,             /* ... up to 1.15, whose GAIN_MIN is 0 */
    COUNTED_MAX = 1 << 15            /* since 1.18.2: bytes that are counted for the literal code */
};

typedef struct chains {
    uint32_t head[1 << HASH_BITS]; /* index + 1 */
    uint32_t previous[RDK_WINDOW];
    uint8_t cost[256]; /* bits of each byte as a literal; level 9 */
} chains;
_Static_assert(sizeof(chains) == KP_LAZY_BYTES, "scratch of the models");

typedef struct walk {
    rdk_run *run;
    kp_state *state;
    chains *tables;
    const uint8_t *src;
    int64_t window;  /* where the buffer begins */
    uint32_t end;    /* where the input ends: a flush or the member's end; UINT32_MAX: out of sight */
    uint32_t filled; /* where the buffer ends */
    uint32_t insert_stop;
    uint32_t inserted; /* positions before this are in the chains */
    uint32_t index, length, distance;
    uint16_t literals; /* written in a row without a match being found; wraps around as in the encoder */
    bool available;    /* the byte before index is still to be written */
    uint32_t lazy, nice, chain;
    bool early; /* KP_OLD */
} walk;

/* ---- chains ---------------------------------------------------------------------------------------------------- */

static inline uint32_t hash_at(const uint8_t *at) { return kp_hash4(rdk_load32(at), HASH_BITS); }

static inline void insert_up_to(walk *w, uint32_t stop) {
    if (stop > w->insert_stop) stop = w->insert_stop;
    for (; w->inserted < stop; w->inserted++) {
        uint32_t *head = &w->tables->head[hash_at(w->src + w->inserted)];
        w->tables->previous[w->inserted % RDK_WINDOW] = *head;
        *head = w->inserted + 1;
    }
}

/* Returns the lowest position that a match may begin at: never before the bytes at hand, because a forged segment may
 * give less than a window. */
static inline int64_t lowest(const walk *w, uint32_t position) {
    int64_t reach = (int64_t)position - RDK_WINDOW, floor = w->window > 0 ? w->window : 0;
    return reach > floor ? reach : floor;
}

/* Bits that the bytes from a position on take as literals: summed up as far as it was asked for. */
typedef struct literal_bits {
    uint32_t summed;
    int of[RDK_MATCH_MAX + 1];
} literal_bits;

static inline int bits_of(const walk *w, literal_bits *bits, uint32_t position, uint32_t length) {
    for (; bits->summed < length; bits->summed++)
        bits->of[bits->summed + 1] = bits->of[bits->summed] + w->tables->cost[w->src[position + bits->summed]];
    return bits->of[length];
}

/* Returns what coding the match saves, in bits, over literals. The distance's extra bits are those of the next
 * distance, because the encoder looks up offsetCode with the distance itself, not with the distance less one; behind
 * its table it finds 6. */
static int gain(const walk *w, literal_bits *literals, uint32_t position, uint32_t length, uint32_t distance) {
    int bits = bits_of(w, literals, position, length);
    int distance_bits = distance < RDK_WINDOW ? rdk_distance_extra[rdk_distance_code(distance + 1)] : 6;
    return bits - distance_bits - (w->early ? EARLY_BASE_COST : BASE_COST) - rdk_length_extra[rdk_length_code(length)];
}

/* Finds the longest match of more than three bytes along the chain; level 9: each with more gain than the one before.
 */
static void search(walk *w, uint32_t position, uint32_t entry, uint32_t lookahead) {
    const uint8_t *src = w->src, *here = src + position;
    uint32_t most = lookahead < RDK_MATCH_MAX ? lookahead : RDK_MATCH_MAX, nice = w->nice < most ? w->nice : most;
    uint32_t length = SHORTEST - 1;
    int best = w->early ? 0 : GAIN_MIN;
    int64_t low = lowest(w, position), at = (int64_t)entry - 1;
    literal_bits literals;
    literals.summed = 0;
    literals.of[0] = 0;
    for (uint32_t tries = w->chain; tries > 0; tries--) {
        if (here[length] == src[at + length]) {
            uint32_t n = rdk_equal_short(here, src + at, most);
            int gained = n > length && w->chain >= WEIGHED_CHAIN_MIN
                             ? gain(w, &literals, position, n, position - (uint32_t)at)
                             : best + 1;
            if (n > length && gained > best) {
                w->length = length = n;
                w->distance = position - (uint32_t)at;
                best = w->chain >= WEIGHED_CHAIN_MIN ? gained : best;
                if (n >= nice) return;
            }
        }
        if (at <= low) return;
        at = (int64_t)w->tables->previous[at % RDK_WINDOW] - 1;
        if (at < low) return;
    }
}

/* ---- emitting -------------------------------------------------------------------------------------------------- */

/* The run is elsewhere than expected: nothing is pending, and the search continues from there. */
static void resume_at(walk *w, uint32_t reached) {
    insert_up_to(w, reached);
    w->index = reached;
    w->length = SHORTEST - 1;
    w->available = false;
    w->literals = 0;
}

/* Emits a literal. False: it was overruled. */
static inline bool literal(walk *w, uint32_t position) {
    uint32_t reached = rdk_emit_literal(w->run, position);
    if (reached == position + 1) return true;
    resume_at(w, reached);
    return false;
}

/* ---- the search from a match's end ----------------------------------------------------------------------------- */

/* Looks for a longer match among the candidates that agree with the two last bytes of the present one. */
static void improve_early(const walk *w, uint32_t lookahead, uint32_t *length, uint32_t *distance) {
    uint32_t before = w->index - 1, end = lookahead < RDK_MATCH_MAX ? lookahead : RDK_MATCH_MAX;
    if (before + *length + 2 >= w->insert_stop) return;
    int64_t from = (int64_t)w->tables->head[hash_at(w->src + before + *length - 2)] - 1 - *length + 2;
    if (from <= lowest(w, w->index)) return;
    uint32_t n = rdk_equal_short(w->src + before, w->src + from, end);
    if (n <= *length) return;
    *length = n;
    *distance = before - (uint32_t)from;
}

/* The same among candidates that agree with the bytes behind the present match. The first two bytes may differ: then
 * they become literals. False: a literal was overruled. */
static bool improve(walk *w, uint32_t lookahead, uint32_t *length, uint32_t *distance) {
    uint32_t before = w->index - 1, end = lookahead < RDK_MATCH_MAX + 2 ? lookahead : RDK_MATCH_MAX + 2;
    if (*length >= RDK_MATCH_MAX - 2 || before + *length >= w->insert_stop) return true;
    int64_t from = (int64_t)w->tables->head[hash_at(w->src + before + *length)] - 1 - *length;
    if ((int64_t)before - from == *distance || from <= lowest(w, w->index) + 2 || from >= before) return true;
    uint32_t n = end > 2 ? rdk_equal_short(w->src + before + 2, w->src + from + 2, end - 2) : 0;
    if (n <= *length) return true;
    *length = n;
    *distance = before - (uint32_t)from;
    for (int i = 1; i >= 0; i--) {
        if (*length < RDK_MATCH_MAX && w->src[before + i] == w->src[from + i]) {
            ++*length;
            continue;
        }
        for (int owed = 0; owed <= i; owed++) {
            if (!literal(w, before + (uint32_t)owed)) return false;
            w->index++;
            insert_up_to(w, w->index + 1);
        }
        break;
    }
    return true;
}

/* ---- one position ---------------------------------------------------------------------------------------------- */

static void write_match(walk *w, uint32_t lookahead, uint32_t length, uint32_t distance) {
    if (w->early) improve_early(w, lookahead, &length, &distance);
    else if (!improve(w, lookahead, &length, &distance)) return;
    resume_at(w, rdk_emit_match(w->run, w->index - 1, length, distance));
}

/* After many literals in a row some positions are not even searched. */
static void skip(walk *w) {
    int over = (int)w->literals - (int)w->chain;
    if (over <= 0) return;
    for (int n = 1 + (over >> 6); n > 0 && w->index < w->filled - 1; n--) {
        if (!literal(w, w->index - 1)) return;
        insert_up_to(w, w->index + 1);
        w->index++;
    }
    if (literal(w, w->index - 1)) w->available = false;
}

/* Handles one position, as the loop of deflateLazy does. */
static void step(walk *w) {
    uint32_t lookahead = w->filled - w->index, before = w->length, distance = w->distance, entry = 0;
    insert_up_to(w, w->index + 1);
    if (w->index < w->insert_stop) entry = w->tables->previous[w->index % RDK_WINDOW];
    w->length = SHORTEST - 1;
    w->distance = 0;
    if ((int64_t)entry - 1 >= lowest(w, w->index) && entry && lookahead > before && before < w->lazy)
        search(w, w->index, entry, lookahead);
    if (before >= SHORTEST && w->length <= before) {
        write_match(w, lookahead, before, distance);
        return;
    }
    if (w->length >= SHORTEST) w->literals = 0;
    if (!w->available) {
        w->index++;
        w->available = true;
        return;
    }
    w->literals++;
    if (!literal(w, w->index - 1)) return;
    w->index++;
    skip(w);
}

/* ---- buffers --------------------------------------------------------------------------------------------------- */

/* Makes the literal code of level 9 from the bytes that lie ahead. Releases differ in how far they look, and in what an
 * absent byte costs. Counts have 16 bits as in the encoder. */
static void weigh_literals(walk *w) {
    uint32_t counts[256] = {0}, stop = w->filled;
    bool trimmed = w->run->model->parameter & KP_TRIMMED;
    if (w->chain <= WEIGHED_CHAIN_MIN || w->filled <= w->index) return;
    if (trimmed && stop - w->index > COUNTED_MAX) stop = w->index + COUNTED_MAX;
    for (uint32_t i = w->index; i < stop; i++) counts[w->src[i]]++;
    for (int b = 0; b < 256; b++) counts[b] &= 0xffff;
    rdk_limited_lengths(counts, 256, 15, w->tables->cost);
    if (trimmed && !(w->run->model->parameter & KP_PGZIP))
        for (int b = 0; b < 256; b++) w->tables->cost[b] += w->tables->cost[b] == 0;
}

/* The buffer begins at w->window. */
static void fill(walk *w) {
    uint64_t full = (uint64_t)(w->window + 2 * RDK_WINDOW);
    w->state->flushed = full >= w->end;
    w->filled = full < w->end ? (uint32_t)full : w->end;
    if (w->filled > w->run->length) w->filled = w->run->length;
    w->insert_stop = w->filled > SHORTEST - 1 ? w->filled - (SHORTEST - 1) : 0;
    w->state->base = w->window > 0 ? (uint32_t)w->window : 0;
    weigh_literals(w);
}

/* Returns the beginning of the buffer in which `position` is searched, of an input that began at `origin`. */
static int64_t window_of(int64_t origin, uint32_t position) {
    int64_t passed = (int64_t)position - origin - (2 * RDK_WINDOW - LEFT + 1);
    return passed < 0 ? origin : origin + (passed / RDK_WINDOW + 1) * RDK_WINDOW;
}

/* lazy, nice and chain of `levels` in deflate.go. */
static void set_level(walk *w, int parameter) {
    static const uint16_t levels[3][3] = {{12, 16, 24}, {30, 40, 64}, {258, 258, 1024}};
    const uint16_t *level = levels[(parameter & KP_LEVEL) - 7];
    w->lazy = level[0];
    w->nice = level[1];
    w->chain = level[2];
    w->early = parameter & KP_OLD;
}

uint32_t kp_lazy(rdk_run *run, int64_t origin, uint32_t history, uint32_t position, uint32_t end) {
    kp_state *state = run->state;
    walk w = {.run = run,
              .state = state,
              .tables = (chains *)(void *)state->tables,
              .src = run->plain,
              .end = end,
              .inserted = history,
              .index = position,
              .length = SHORTEST - 1,
              .window = window_of(origin, position)};
    set_level(&w, run->model->parameter);
    w.insert_stop = position > SHORTEST - 1 ? position - (SHORTEST - 1) : 0;
    insert_up_to(&w, w.insert_stop);
    if (run->model->parameter & KP_PGZIP)
        w.inserted = position; /* a dictionary's last three bytes are never inserted */
    fill(&w);
    while (!rdk_done(run)) {
        uint32_t lookahead = w.filled - w.index;
        if (lookahead == 0 || w.index > w.filled) break;
        if (lookahead < LEFT && !state->flushed) {
            if (w.filled == run->length) break;
            w.window += RDK_WINDOW;
            fill(&w);
            continue;
        }
        step(&w);
    }
    if (w.available && !rdk_done(run)) literal(&w, w.index - 1);
    return w.index;
}
