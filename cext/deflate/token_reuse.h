/* Token reuse: which tokens of an older stream, the donor, an encoder with hash chains would write again.
 *
 * Such an encoder's token at a position is decided by the longest matches there and one byte later, among candidates
 * within a window before them. Where the new and the old bytes are the same the search finds the same again, unless a
 * byte that *differs* had a part in it. Tokens come in groups: literals up to and with a match. No match that was found
 * inside a group is longer than the group's, or it would have been written. So no comparison in a group goes further
 * than that length and one byte behind its match: the group's *reach*. A byte that differs has a part in it
 *   - if it lies before the reach;
 *   - if a candidate that holds it in its first four bytes, new or old, has the hash of a position that is searched,
 * because chains have other members then (*taints*);
 *   - if a match with an earlier candidate goes up to it and would end there in one of both streams only: the four
 * bytes before the one that differs, and that byte itself as it is or was, come again before the reach (*echoes*).
 * Every other token is taken over as it is. The rest is searched as ever, and both streams agree again at the next
 * token boundary that both have, because at a boundary no match is pending that a new search would not find.
 *
 * Everything is inline because it is compiled for one encoder's hash. */
#ifndef RDK_DEFLATE_TOKEN_REUSE_H
#define RDK_DEFLATE_TOKEN_REUSE_H

#include "base/bytes.h"
#include "donor_tokens.h"

enum {
    RDK_TAINT_SLOTS = 1 << 15, /* of the tables by hash: as many as a window has positions */
    RDK_TAINT_BYTES = 4,       /* what a chain is made of; encoders with longer hashes cannot reuse tokens this way */
    /* A token depends on at most this many bytes from its position on: the longest match, one byte later and one byte
       behind it. */
    RDK_REACH_MAX = RDK_MATCH_MAX + 2,
    /* A group's match is looked for behind at most this many literals; further on every token has the longest reach. */
    RDK_GROUP_LITERALS = 256
};

/* The encoder's own hash of RDK_TAINT_BYTES bytes, of at most 30 bits. */
typedef uint32_t rdk_chain_hash(const uint8_t *at);

/* A set of hashes that forgets: it knows those of the present epoch, a window's length of positions, and of the one
 * before. */
typedef struct rdk_recent_set {
    uint64_t epochs[2][RDK_TAINT_SLOTS / 64], either[RDK_TAINT_SLOTS / 64];
} rdk_recent_set;

static inline void rdk_recent_add(rdk_recent_set *set, uint32_t epoch, uint32_t slot) {
    uint64_t bit = UINT64_C(1) << (slot % 64);
    set->epochs[epoch & 1][slot / 64] |= bit;
    set->either[slot / 64] |= bit;
}

static inline bool rdk_recent_has(const rdk_recent_set *set, uint32_t slot) {
    return set->either[slot / 64] >> (slot % 64) & 1;
}

/* `epoch` begins: what was added two epochs ago is forgotten. */
static inline void rdk_recent_turn(rdk_recent_set *set, uint32_t epoch) {
    memset(set->epochs[epoch & 1], 0, sizeof set->epochs[0]);
    memcpy(set->either, set->epochs[~epoch & 1], sizeof set->either);
}

/* Where one donor range and the new bytes stand. Positions are indexes into the newer segment's plain bytes. */
typedef struct rdk_reuse {
    const rdk_donor_range *donor;
    const uint8_t *plain, *old; /* old[i] is aligned with plain[i], for begin <= i < end */
    uint32_t begin, end;
    uint32_t token;       /* the donor's next one */
    int64_t at;           /* where it begins */
    uint32_t group_stop;  /* the token behind the match of its group, once the group was looked at */
    int64_t group_reach;  /* the group depends on bytes before this position only */
    uint32_t same_from;   /* all bytes that differ before it were marked */
    uint32_t differs;     /* the first position from there whose bytes differ; `end` if none does */
    uint32_t last_marked; /* the last position that was marked, plus one; 0: none */
    uint32_t echo_from;   /* echoes before it were looked for */
    uint32_t echo;        /* the last one found, plus one; 0: none */
    uint32_t epoch;       /* of the sets */
    rdk_recent_set taints, echoes;
    uint32_t tainted[RDK_TAINT_SLOTS]; /* by the encoder's hash: the last position with it, plus one */
    uint16_t tags[RDK_TAINT_SLOTS];    /* more bits of that hash; 0: of several hashes */
} rdk_reuse;

static inline bool rdk_in_window(uint32_t marked, uint32_t position) {
    return marked && marked + RDK_WINDOW > position;
}

static inline uint32_t rdk_differs_from(const rdk_reuse *r, uint32_t from) {
    return from + rdk_equal_short(r->plain + from, r->old + from, r->end - from);
}

static inline void rdk_reuse_begin(rdk_reuse *r, const rdk_donor_range *donor, const uint8_t *plain) {
    memset(r, 0, sizeof *r);
    r->donor = donor;
    r->plain = plain;
    r->old = donor->plain - donor->begin;
    r->begin = r->same_from = r->echo_from = donor->begin;
    r->end = donor->end;
    r->at = donor->token_begin;
    r->differs = rdk_differs_from(r, r->begin);
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* Tells whether a token of the donor begins at `position`: then it is the next one. */
static inline bool rdk_donor_has_boundary(rdk_reuse *r, uint32_t position) {
    const rdk_donor_range *donor = r->donor;
    while (r->at < (int64_t)position && r->token < donor->token_count)
        r->at += rdk_donor_span(donor->tokens[r->token++]);
    return r->at == (int64_t)position && r->token < donor->token_count;
}

/* Looks at the group of the next token. If its match is not found, every token has the longest reach. */
static inline void rdk_see_group(rdk_reuse *r) {
    const rdk_donor_range *donor = r->donor;
    uint32_t stop = r->token;
    if (stop < r->group_stop) return;
    while (stop < donor->token_count && donor->tokens[stop] < 256 && stop - r->token < RDK_GROUP_LITERALS) stop++;
    bool match = stop < donor->token_count && donor->tokens[stop] >= 256 && !(donor->tokens[stop] & RDK_STORED_SPAN);
    r->group_reach = r->at + (stop - r->token) + (match ? rdk_token_length(donor->tokens[stop]) + 2 : RDK_REACH_MAX);
    r->group_stop = stop + 1;
}

/* ---- bytes that differ ----------------------------------------------------------------------------------------- */

static inline uint16_t rdk_taint_tag(uint32_t hash) { return (uint16_t)(hash / RDK_TAINT_SLOTS + 1); }

static inline void rdk_taint(rdk_reuse *r, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    uint16_t tag = rdk_taint_tag(hash);
    rdk_recent_add(&r->taints, r->epoch, slot);
    r->tags[slot] = rdk_in_window(r->tainted[slot], position) && r->tags[slot] != tag ? 0 : tag;
    if (r->tainted[slot] <= position) r->tainted[slot] = position + 1;
}

/* Taints the positions [from, to): candidates that only one of both streams could reach. */
static inline void rdk_taint_range(rdk_reuse *r, int64_t from, int64_t to, rdk_chain_hash *chain_hash) {
    for (int64_t c = from < r->begin ? r->begin : from; c < to; c++)
        rdk_taint(r, chain_hash(r->plain + c), (uint32_t)c);
    if (to > r->last_marked) r->last_marked = (uint32_t)to;
}

/* Five bytes by multiplication with 2^64 divided by the golden ratio (Knuth, TAOCP volume 3, 6.4); the top 15 bits. */
static inline uint32_t rdk_echo_slot(const uint8_t *four, uint8_t fifth) {
    uint64_t bytes = (uint64_t)rdk_load32(four) << 8 | fifth;
    return (uint32_t)(bytes * UINT64_C(0x9e3779b97f4a7c15) >> 49);
}

/* Marks a byte that differs, with `same` bytes that do not differ before it. */
static inline void rdk_mark(rdk_reuse *r, uint32_t position, uint32_t same, rdk_chain_hash *chain_hash) {
    uint32_t first = same < RDK_TAINT_BYTES - 1 ? position - same : position - (RDK_TAINT_BYTES - 1);
    for (uint32_t c = first; c <= position && c + RDK_TAINT_BYTES <= r->end; c++) {
        rdk_taint(r, chain_hash(r->plain + c), c);
        rdk_taint(r, chain_hash(r->old + c), c);
    }
    if (same >= 4) {
        rdk_recent_add(&r->echoes, r->epoch, rdk_echo_slot(r->plain + position - 4, r->plain[position]));
        rdk_recent_add(&r->echoes, r->epoch, rdk_echo_slot(r->plain + position - 4, r->old[position]));
    }
    r->last_marked = position + 1;
}

/* Marks all bytes that differ before `position`. */
static inline void rdk_mark_until(rdk_reuse *r, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t epoch = position / RDK_WINDOW;
    if (r->epoch != epoch) {
        /* After two turns everything is forgotten, so more are not needed. */
        for (uint32_t begun = r->epoch + 1; begun <= epoch && begun <= r->epoch + 2; begun++) {
            rdk_recent_turn(&r->taints, begun);
            rdk_recent_turn(&r->echoes, begun);
        }
        r->epoch = epoch;
    }
    while (r->differs < position && r->differs < r->end) {
        rdk_mark(r, r->differs, r->differs - r->same_from, chain_hash);
        r->same_from = r->differs + 1;
        r->differs = rdk_differs_from(r, r->same_from);
    }
}

/* Tells whether a position that is searched may have another chain. All bytes that differ before it were marked. */
static inline bool rdk_is_tainted(const rdk_reuse *r, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t hash = chain_hash(r->plain + position), slot = hash % RDK_TAINT_SLOTS;
    if (!rdk_recent_has(&r->taints, slot) || !rdk_in_window(r->tainted[slot], position)) return false;
    return r->tags[slot] == 0 || r->tags[slot] == rdk_taint_tag(hash);
}

/* Tells whether there is an echo between four bytes behind `position` and `reach`. */
static inline bool rdk_has_echo(rdk_reuse *r, uint32_t position, uint32_t reach) {
    uint32_t at = r->echo_from > position + 4 ? r->echo_from : position + 4;
    for (; at < reach; at++)
        if (rdk_recent_has(&r->echoes, rdk_echo_slot(r->plain + at - 4, r->plain[at]))) r->echo = at + 1;
    r->echo_from = at;
    return r->echo > position + 4;
}

#endif
