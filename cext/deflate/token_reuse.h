/* Following a donor: which tokens of an older stream an encoder with hash chains would write again.
 *
 * Such an encoder's token at a position is decided by the longest matches there and one further, among candidates
 * within a window before them. Where new and old bytes are the same that search would find the same again, unless a
 * byte that *differs* had a part in it. Tokens come in groups, literals up to and with a match: no match that was found
 * on the way is longer than the group's, or it would have been written. So comparisons in a group end no more than that
 * length and one byte behind its match, and a byte that differs has a part in it
 *   - where it lies before that end (the group's reach);
 *   - where a candidate that holds it within its first four bytes, new or old, has the hash of a position that is
 * searched: chains have other members then (*taints*);
 *   - where a match with an earlier candidate goes up to it and would end there in one of both streams only: four bytes
 * before the one that differs, and that byte itself as it is or was, come again within the group's reach (*echoes*).
 * Everything else can be taken over as it is. The rest is searched as ever, and the two agree again at the next token
 * boundary that both have, because nothing is pending at a boundary that a fresh search would not find. */
#ifndef RDK_DEFLATE_PRECEDENT_H
#define RDK_DEFLATE_PRECEDENT_H

#include "model.h"
#include "token_delta.h"

enum {
    RDK_TAINT_SLOTS = 1 << 15,
    RDK_TAINT_WINDOW = 1 << 15,    /* deflate's */
    RDK_TAINT_BYTES = 4,           /* what a chain is made of: encoders with longer hashes cannot follow */
    RDK_REACH = RDK_MATCH_MAX + 2, /* a token depends on so many bytes from its position at most */
    RDK_GROUP_LITERALS = 256       /* how far a group's match is looked for */
};

typedef uint32_t rdk_chain_hash(
    const uint8_t *at); /* the encoder's own, of at most 30 bits, over RDK_TAINT_BYTES bytes */

/* Which of many hashes were put in lately: during this stretch of a window's length or the one before. */
typedef struct rdk_sieve {
    uint64_t stretches[2][RDK_TAINT_SLOTS / 64], either[RDK_TAINT_SLOTS / 64];
} rdk_sieve;

typedef struct rdk_follower {
    const rdk_donor_range *donor;
    const uint8_t *plain, *old; /* old[i] stands beside plain[i], for begin <= i < end */
    uint32_t begin, end;
    uint32_t token;      /* the next one */
    int64_t at;          /* where it begins */
    uint32_t group_stop; /* the token behind the match of its group, once the group was looked at */
    int64_t group_reach; /* the group depends on bytes before this position only */
    uint32_t same_from;  /* what differs before it was noted */
    uint32_t differs;    /* the first position from there whose bytes differ; `end` if none does */
    uint32_t last_noted; /* the last position that was noted, plus one; 0: none */
    uint32_t listened;   /* echoes before it were looked for */
    uint32_t echo;       /* the last one found, plus one; 0: none */
    uint32_t stretch;    /* of the sieves */
    rdk_sieve taints, echoes;
    uint32_t tainted[RDK_TAINT_SLOTS]; /* by the encoder's hash: position + 1 of the last */
    uint16_t tags[RDK_TAINT_SLOTS];    /* more bits of its hash; 0: of several hashes */
} rdk_follower;

static inline void rdk_sieve_add(rdk_sieve *s, uint32_t stretch, uint32_t slot) {
    uint64_t bit = UINT64_C(1) << (slot % 64);
    s->stretches[stretch & 1][slot / 64] |= bit;
    s->either[slot / 64] |= bit;
}

static inline bool rdk_sieve_has(const rdk_sieve *s, uint32_t slot) { return s->either[slot / 64] >> (slot % 64) & 1; }

/* Another stretch begins; what was put in two stretches ago is forgotten. */
static inline void rdk_sieve_turn(rdk_sieve *s, uint32_t stretch) {
    memset(s->stretches[stretch & 1], 0, sizeof s->stretches[0]);
    memcpy(s->either, s->stretches[~stretch & 1], sizeof s->either);
}

static inline bool rdk_in_window(uint32_t noted, uint32_t position) {
    return noted && noted + RDK_TAINT_WINDOW > position;
}

static inline uint32_t rdk_differs_from(const rdk_follower *f, uint32_t from) {
    return from + rdk_common(f->plain + from, f->old + from, f->end - from);
}

static inline void rdk_follow(rdk_follower *f, const rdk_donor_range *donor, const uint8_t *plain) {
    memset(f, 0, sizeof *f);
    f->donor = donor;
    f->plain = plain;
    f->old = donor->plain - donor->begin;
    f->begin = f->same_from = f->listened = donor->begin;
    f->end = donor->end;
    f->at = donor->token_begin;
    f->differs = rdk_differs_from(f, f->begin);
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

/* Whether a token of the donor begins at `position`: then it is the next one. */
static inline bool rdk_in_step(rdk_follower *f, uint32_t position) {
    const rdk_donor_range *p = f->donor;
    while (f->at < (int64_t)position && f->token < p->token_count) f->at += rdk_old_span(p->tokens[f->token++]);
    return f->at == (int64_t)position && f->token < p->token_count;
}

/* Looks at the group of the next token. Where its match is not at hand, every token has the longest reach. */
static inline void rdk_see_group(rdk_follower *f) {
    const rdk_donor_range *p = f->donor;
    uint32_t stop = f->token;
    if (stop < f->group_stop) return;
    while (stop < p->token_count && p->tokens[stop] < 256 && stop - f->token < RDK_GROUP_LITERALS) stop++;
    bool match = stop < p->token_count && p->tokens[stop] >= 256 && !(p->tokens[stop] & RDK_STORED_SPAN);
    f->group_reach = f->at + (stop - f->token) + (match ? rdk_token_length(p->tokens[stop]) + 2 : RDK_REACH);
    f->group_stop = stop + 1;
}

/* ---- what differs ---------------------------------------------------------------------------------------------- */

static inline uint16_t rdk_taint_tag(uint32_t hash) { return (uint16_t)(hash / RDK_TAINT_SLOTS + 1); }

static inline void rdk_taint(rdk_follower *f, uint32_t hash, uint32_t position) {
    uint32_t slot = hash % RDK_TAINT_SLOTS;
    uint16_t tag = rdk_taint_tag(hash);
    rdk_sieve_add(&f->taints, f->stretch, slot);
    f->tags[slot] = rdk_in_window(f->tainted[slot], position) && f->tags[slot] != tag ? 0 : tag;
    if (f->tainted[slot] <= position) f->tainted[slot] = position + 1;
}

/* Taints [from, to): candidates that only one of both streams could reach. */
static inline void rdk_taint_range(rdk_follower *f, int64_t from, int64_t to, rdk_chain_hash *chain_hash) {
    for (int64_t c = from < f->begin ? f->begin : from; c < to; c++)
        rdk_taint(f, chain_hash(f->plain + c), (uint32_t)c);
    if (to > f->last_noted) f->last_noted = (uint32_t)to;
}

static inline uint32_t rdk_echo_slot(const uint8_t *four, uint8_t fifth) {
    uint64_t bytes = (uint64_t)rdk_load32(four) << 8 | fifth;
    return (uint32_t)(bytes * UINT64_C(0x9e3779b97f4a7c15) >> 49);
}

/* Notes a byte that differs, `same` bytes behind the one before. */
static inline void rdk_note(rdk_follower *f, uint32_t position, uint32_t same, rdk_chain_hash *chain_hash) {
    uint32_t first = same < RDK_TAINT_BYTES - 1 ? position - same : position - (RDK_TAINT_BYTES - 1);
    for (uint32_t c = first; c <= position && c + RDK_TAINT_BYTES <= f->end; c++) {
        rdk_taint(f, chain_hash(f->plain + c), c);
        rdk_taint(f, chain_hash(f->old + c), c);
    }
    if (same >= 4) {
        rdk_sieve_add(&f->echoes, f->stretch, rdk_echo_slot(f->plain + position - 4, f->plain[position]));
        rdk_sieve_add(&f->echoes, f->stretch, rdk_echo_slot(f->plain + position - 4, f->old[position]));
    }
    f->last_noted = position + 1;
}

/* Notes what differs before `position`. */
static inline void rdk_look(rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t stretch = position / RDK_TAINT_WINDOW;
    if (f->stretch != stretch) {
        for (uint32_t begun = f->stretch + 1; begun <= stretch && begun <= f->stretch + 2; begun++) {
            rdk_sieve_turn(&f->taints, begun);
            rdk_sieve_turn(&f->echoes, begun);
        }
        f->stretch = stretch;
    }
    while (f->differs < position && f->differs < f->end) {
        rdk_note(f, f->differs, f->differs - f->same_from, chain_hash);
        f->same_from = f->differs + 1;
        f->differs = rdk_differs_from(f, f->same_from);
    }
}

/* Whether a position that is searched may have another chain. All that differs before it was noted. */
static inline bool rdk_is_tainted(const rdk_follower *f, uint32_t position, rdk_chain_hash *chain_hash) {
    uint32_t hash = chain_hash(f->plain + position), slot = hash % RDK_TAINT_SLOTS;
    if (!rdk_sieve_has(&f->taints, slot) || !rdk_in_window(f->tainted[slot], position)) return false;
    return f->tags[slot] == 0 || f->tags[slot] == rdk_taint_tag(hash);
}

/* Whether an echo stands between four bytes behind `position` and `reach`. */
static inline bool rdk_has_echo(rdk_follower *f, uint32_t position, uint32_t reach) {
    uint32_t at = f->listened > position + 4 ? f->listened : position + 4;
    for (; at < reach; at++)
        if (rdk_sieve_has(&f->echoes, rdk_echo_slot(f->plain + at - 4, f->plain[at]))) f->echo = at + 1;
    f->listened = at;
    return f->echo > position + 4;
}

#endif
