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

typedef struct rdk_follower {
    const rdk_precedent *precedent;
    const uint8_t *plain, *old; /* old[i] stands beside plain[i], for begin <= i < end */
    uint32_t begin, end;
    uint32_t token;             /* the next one */
    int64_t at;                 /* where it begins */
    uint32_t differs;           /* the first position >= `seen` whose bytes differ; `end` if none does */
    uint32_t seen;              /* positions before it are in `tainted` where they have to be */
    uint32_t last_tainted;      /* the last tainted position, plus one; 0: none */
    uint32_t near[RDK_TAINT_SLOTS];     /* by the encoder's hash: position + 1 of the last */
    uint32_t far[RDK_TAINT_SLOTS];      /* by eight bytes: the same */
    uint16_t far_tags[RDK_TAINT_SLOTS]; /* more bits of their hash; 0: several in one slot, that may be any */
} rdk_follower;

static inline uint64_t rdk_taint_hash(const uint8_t *at) { return rdk_load64(at) * UINT64_C(0x9e3779b97f4a7c15); }
static inline uint32_t rdk_taint_slot(uint64_t hash) { return (uint32_t)(hash >> 49); }
static inline uint16_t rdk_taint_tag(uint64_t hash) { return (uint16_t)(hash >> 33 | 1); }
static inline bool rdk_in_window(uint32_t taint, uint32_t position) { return taint && taint + RDK_TAINT_WINDOW > position; }

static inline uint32_t rdk_differs_from(const rdk_follower *f, uint32_t from) {
    return from + rdk_common(f->plain + from, f->old + from, f->end - from);
}

static inline void rdk_follow(rdk_follower *f, const rdk_precedent *precedent, const uint8_t *plain) {
    memset(f->near, 0, sizeof f->near);
    memset(f->far, 0, sizeof f->far);
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
static inline void rdk_taint(rdk_follower *f, uint32_t position, uint32_t (*chain_hash)(const uint8_t *)) {
    uint32_t to = position < f->end - 8 ? position : f->end - 8;
    for (uint32_t c = f->seen; c < to;) {
        if (f->differs < c) f->differs = rdk_differs_from(f, c);
        uint32_t same = f->differs - c;
        if (same >= RDK_MATCH_MAX) {
            c = f->differs - RDK_MATCH_MAX + 1;
            continue;
        }
        if (same >= RDK_TAINT_FAR) {
            uint64_t hash = rdk_taint_hash(f->plain + c);
            uint32_t slot = rdk_taint_slot(hash), before = f->far[slot];
            uint16_t tag = rdk_taint_tag(hash);
            f->far_tags[slot] = rdk_in_window(before, c) && f->far_tags[slot] != tag ? 0 : tag;
            f->far[slot] = c + 1;
        } else {
            f->near[chain_hash(f->plain + c) % RDK_TAINT_SLOTS] = c + 1;
            f->near[chain_hash(f->old + c) % RDK_TAINT_SLOTS] = c + 1;
        }
        f->last_tainted = ++c;
    }
    if (to > f->seen) f->seen = to;
    if (f->differs < f->seen) f->differs = rdk_differs_from(f, f->seen);
}

/* Whether no taint before `position` can have a part in a search there. Everything before it is marked. */
static inline bool rdk_is_clean(const rdk_follower *f, uint32_t position, uint32_t (*chain_hash)(const uint8_t *)) {
    uint64_t hash = rdk_taint_hash(f->plain + position);
    uint32_t slot = rdk_taint_slot(hash);
    if (rdk_in_window(f->near[chain_hash(f->plain + position) % RDK_TAINT_SLOTS], position)) return false;
    return !rdk_in_window(f->far[slot], position) || (f->far_tags[slot] && f->far_tags[slot] != rdk_taint_tag(hash));
}

#endif
