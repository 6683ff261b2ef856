/* Finds a token delta (token_delta.h). */
#include <stdlib.h>

#include "token_delta.h"

enum {
    AGREED = 8,       /* tokens in a row that are the same end a stretch of others */
    STATED_MOST = 256 /* tokens of one stretch: more are searched, for that takes as long as to read them here */
};

typedef struct making {
    const rdk_token *tokens;
    const bool *same; /* per token: the older stream has it, too */
    size_t count;
    rdk_writer out;
    uint64_t copied; /* bytes */
} making;

static void put_step(making *m, uint32_t kind, uint64_t count) {
    if (count) rdk_put_number(&m->out, count << 2 | kind);
}

static uint64_t span_of(const making *m, size_t from, size_t to) {
    uint64_t bytes = 0;
    for (; from < to; from++) bytes += rdk_old_span(m->tokens[from]);
    return bytes;
}

static bool is_match(const making *m, size_t index) {
    return !(m->tokens[index] & RDK_STORED_SPAN) && rdk_token_length(m->tokens[index]) != 0;
}

/* Where the stretch of other tokens from `from` on ends; how many of them differ, UINT32_MAX if some are not known. */
static size_t end_of_stretch(const making *m, size_t from, uint32_t *differ) {
    size_t stop = from, agreed = 0;
    *differ = 0;
    for (size_t i = from; i < m->count && agreed < AGREED; i++) {
        agreed = m->same[i] ? agreed + 1 : 0;
        if (m->same[i]) continue;
        stop = i + 1;
        if (m->tokens[i] & RDK_STORED_SPAN) *differ = UINT32_MAX;
        if (*differ != UINT32_MAX) ++*differ;
    }
    return stop;
}

static void copy(making *m, size_t from, size_t to) {
    put_step(m, RDK_STEP_COPY, to - from);
    m->copied += span_of(m, from, to);
}

static void state(making *m, size_t from, size_t to) {
    put_step(m, RDK_STEP_STATE, to - from);
    for (; from < to; from++) {
        uint32_t length = rdk_token_length(m->tokens[from]);
        rdk_put_number(&m->out, length ? length - 2 : 0);
        if (length) rdk_put_number(&m->out, rdk_token_distance(m->tokens[from]));
    }
}

static void write_steps(making *m) {
    size_t at = 0, run;
    while (at < m->count) {
        for (run = at; run < m->count && m->same[run]; run++) {}
        copy(m, at, run);
        if (run == m->count) return;
        uint32_t differ;
        size_t stop = end_of_stretch(m, run, &differ);
        if (differ > STATED_MOST) {
            while (stop < m->count && !is_match(m, stop - 1)) stop++;
            if (stop == m->count) return;
            put_step(m, RDK_STEP_SEARCH, span_of(m, run, stop));
            at = stop;
            continue;
        }
        while (run < stop) {
            for (at = run; run < stop && !m->same[run]; run++) {}
            state(m, at, run);
            for (at = run; run < stop && m->same[run]; run++) {}
            copy(m, at, run);
        }
        at = stop;
    }
}

int64_t rdk_token_delta(uint32_t start, const uint32_t *tokens, size_t token_count, const rdk_donor_range *donors,
                        size_t count, uint8_t *delta, size_t capacity, uint64_t *copied) {
    rdk_old_tokens old = {.next = donors, .stop = donors + count};
    bool *same = malloc(token_count + 1);
    if (same == NULL) return RDK_E_MEMORY;
    uint64_t position = start;
    for (size_t i = 0; i < token_count && position <= UINT32_MAX; i++) {
        same[i] = rdk_old_token_at(&old, (uint32_t)position) == tokens[i];
        position += rdk_old_span(tokens[i]);
    }
    making m = {tokens, same, position <= UINT32_MAX ? token_count : 0, {delta, delta + capacity, false}, 0};
    write_steps(&m);
    free(same);
    *copied = m.copied;
    return m.out.full ? RDK_E_OUTPUT_FULL : m.out.at - delta;
}
