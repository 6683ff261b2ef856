/* Following a precedent: which tokens of an older stream an encoder with hash chains would write again.
 *
 * Such an encoder's token at a position is decided by the longest matches there and one further, among candidates within a
 * window before them. Where new and old bytes are the same that search would find the same again, unless a byte that
 * *differs* had a part in it. Bytes that differ have one
 *   - where a match could be compared up to them: for the last RDK_MATCH_MAX positions before them;
 *   - as candidates: a position less than RDK_MATCH_MAX before a byte that differs is *tainted*, for whoever meets it in a chain
 *     may get another length. It is met only by positions with its hash, old or new; and if at least eight same bytes
 *     precede the one that differs, it matters only to positions that begin with the same eight bytes.
 * Everything else can be taken over as it is. The rest is searched as ever, and the two agree again at the next token
 * boundary that both have, because nothing is pending at a boundary that a fresh search would not find. */
#ifndef RDK_DEFLATE_PRECEDENT_H
#define RDK_DEFLATE_PRECEDENT_H

#include "model.h"

enum {
    RDK_TAINT_SLOTS = 1 << 15,
    RDK_TAINT_WINDOW = 1 << 15, /* deflate's */
    RDK_TAINT_FAR = 8, /* same bytes from which on a taint is looked up by eight bytes */
    RDK_REACH = RDK_MATCH_MAX + 2 /* bytes from a position that its token depends on: a match there or one further */
};

/* Tainted positions by hash. */
typedef struct rdk_taints {
    uint32_t last[RDK_TAINT_SLOTS]; /* position + 1 of the last in the slot */
    uint16_t tags[RDK_TAINT_SLOTS]; /* more bits of its hash; 0: of several hashes */
} rdk_taints;

typedef struct rdk_follower {
    const rdk_precedent *precedent;
    const uint8_t *plain, *old; /* old[i] stands beside plain[i], for begin <= i < end */
    uint32_t begin, end;
    uint32_t token;             /* the next one */
    int64_t at;                 /* where it begins */
    uint32_t differs;           /* the first position >= `seen` whose bytes differ; `end` if none does */
    uint32_t seen;              /* positions before it are in `tainted` where they have to be */
    uint32_t last_tainted;      /* the last tainted position, plus one; 0: none */
    rdk_taints near; /* by the encoder's hash */
    rdk_taints far;  /* by eight bytes */
} rdk_follower;

typedef uint32_t rdk_chain_hash(const uint8_t *at); /* the encoder's own, of at most 30 bits, over at most eight bytes */

static inline uint32_t rdk_far_hash(const uint8_t *at) { return (uint32_t)(rdk_load64(at) * UINT64_C(0x9e3779b97f4a7c15) >> 34); }
static inline uint16_t rdk_taint_tag(uint32_t hash) { return (uint16_t)(hash / RDK_TAINT_SLOTS + 1); }
static inline bool rdk_in_window(uint32_t taint, uint32_t position) { return taint && taint + RDK_TAINT_WINDOW > position; }

/* What was in the slot and is as near as `position` is looked up still. */
static inline void rdk_taints_add(rdk_taints *t, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    uint16_t tag = rdk_taint_tag(hash);
    t->tags[slot] = rdk_in_window(t->last[slot], position) && t->tags[slot] != tag ? 0 : tag;
    if (t->last[slot] <= position) t->last[slot] = position + 1;
}

static inline bool rdk_taints_has(const rdk_taints *t, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    return rdk_in_window(t->last[slot], position) && (t->tags[slot] == 0 || t->tags[slot] == rdk_taint_tag(hash));
}

static inline uint32_t rdk_differs_from(const rdk_follower *f, uint32_t from) {
    return from + rdk_common(f->plain + from, f->old + from, f->end - from);
}

static inline void rdk_follow(rdk_follower *f, const rdk_precedent *precedent, const uint8_t *plain) {
    memset(f->near.last, 0, sizeof f->near.last);
    memset(f->far.last, 0, sizeof f->far.last);
    f->precedent = precedent;
    f->plain = plain;
    f->old = precedent->plain - precedent->begin;
    f->begin = f->seen = precedent->begin;
    f->end = precedent->end;
    f->token = 0;
    f->at = precedent->token_begin;
    f->last_tainted = 0;
    f->differs = rdk_differs_from(f, f->begin);
}

static inline uint32_t rdk_old_span(rdk_token token) {
    return token & RDK_STORED_SPAN ? token & (RDK_STORED_SPAN - 1) : rdk_token_span(token);
}

/* Whether a token of the precedent begins at `position`: then it is the next one. */
static inline bool rdk_in_step(rdk_follower *f, uint32_t position) {
    const rdk_precedent *p = f->precedent;
    while (f->at < (int64_t)position && f->token < p->token_count) f->at += rdk_old_span(p->tokens[f->token++]);
    return f->at == (int64_t)position && f->token < p->token_count;
}

/* Marks what is tainted before `position`. `chain_hash` is the encoder's own. Reads up to eight bytes from a position. */
static inline void rdk_taint(rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t to = position < f->end - 8 ? position : f->end - 8;
    for (uint32_t c = f->seen; c < to;) {
        if (f->differs < c) f->differs = rdk_differs_from(f, c);
        uint32_t same = f->differs - c;
        if (same >= RDK_MATCH_MAX) {
            c = f->differs - RDK_MATCH_MAX + 1;
            continue;
        }
        if (same >= RDK_TAINT_FAR) {
            rdk_taints_add(&f->far, rdk_far_hash(f->plain + c), c);
        } else {
            rdk_taints_add(&f->near, chain_hash(f->plain + c), c);
            rdk_taints_add(&f->near, chain_hash(f->old + c), c);
        }
        if (f->last_tainted < ++c) f->last_tainted = c;
    }
    if (to > f->seen) f->seen = to;
    if (f->differs < f->seen) f->differs = rdk_differs_from(f, f->seen);
}

/* Taints [from, to) for an encoder that cannot reach there from everywhere in the window. */
static inline void rdk_taint_range(rdk_follower *f, int64_t from, int64_t to, rdk_chain_hash *chain_hash) {
    for (int64_t c = from < f->begin ? f->begin : from; c < to; c++) rdk_taints_add(&f->near, chain_hash(f->plain + c), (uint32_t)c);
    if (to > f->last_tainted) f->last_tainted = (uint32_t)to;
}

/* Whether no taint before `position` can have a part in a search there. Everything before it is marked. */
static inline bool rdk_is_clean(const rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    const uint8_t *here = f->plain + position;
    return !rdk_taints_has(&f->near, chain_hash(here), position) && !rdk_taints_has(&f->far, rdk_far_hash(here), position);
}

#endif
