#include "token_delta.h"

#include <stdlib.h>

enum {
    /* So many equal tokens in a row end a range of different ones. Fewer would make many short steps, each of two bytes
     * or more, where streams agree by chance. */
    AGREED = 8,
    /* A range in which more tokens differ is searched by whoever rebuilds, because that takes about as long as reading
     * them out of the delta, which would grow by about 3 bytes for each. */
    INSERTED_MAX = 256
};

/* A delta that is being made. */
typedef struct making {
    const rdk_token *tokens; /* of the newer segment */
    const bool *same;        /* per token: the donors have it, too */
    size_t count;
    rdk_writer out;
    uint64_t copied; /* plain bytes */
} making;

static void put_step(making *m, uint32_t kind, uint64_t count) {
    if (count) rdk_write_number(&m->out, count << 2 | kind);
}

static uint64_t span_of(const making *m, size_t from, size_t to) {
    uint64_t bytes = 0;
    for (; from < to; from++) bytes += rdk_donor_span(m->tokens[from]);
    return bytes;
}

static bool is_match(const making *m, size_t index) {
    return !(m->tokens[index] & RDK_STORED_SPAN) && rdk_token_length(m->tokens[index]) != 0;
}

/* Returns where the range of different tokens ends that begins at `from`. *differ becomes the number of its tokens that
 * the donors do not have, UINT32_MAX if there is a stored block among them, whose tokens are not known. */
static size_t end_of_range(const making *m, size_t from, uint32_t *differ) {
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

static void insert(making *m, size_t from, size_t to) {
    put_step(m, RDK_STEP_INSERT, to - from);
    for (; from < to; from++) {
        uint32_t length = rdk_token_length(m->tokens[from]);
        rdk_write_number(&m->out, length ? length - 2 : 0);
        if (length) rdk_write_number(&m->out, rdk_token_distance(m->tokens[from]));
    }
}

static void write_steps(making *m) {
    size_t at = 0, run;
    while (at < m->count) {
        for (run = at; run < m->count && m->same[run]; run++) {}
        copy(m, at, run);
        if (run == m->count) return;
        uint32_t differ;
        size_t stop = end_of_range(m, run, &differ);
        if (differ > INSERTED_MAX) {
            while (stop < m->count && !is_match(m, stop - 1)) stop++;
            if (stop == m->count) return;
            put_step(m, RDK_STEP_SEARCH, span_of(m, run, stop));
            at = stop;
            continue;
        }
        while (run < stop) {
            for (at = run; run < stop && !m->same[run]; run++) {}
            insert(m, at, run);
            for (at = run; run < stop && m->same[run]; run++) {}
            copy(m, at, run);
        }
        at = stop;
    }
}

int64_t rdk_token_delta(uint32_t start, const uint32_t *tokens, size_t token_count, const rdk_donor_range *donors,
                        size_t count, uint8_t *delta, size_t capacity, uint64_t *copied) {
    rdk_donor_cursor cursor = {.range = donors, .stop = donors + count};
    bool *same = malloc(token_count + 1);
    if (same == NULL) return RDK_E_MEMORY;
    uint64_t position = start;
    for (size_t i = 0; i < token_count && position <= UINT32_MAX; i++) {
        same[i] = rdk_donor_token_at(&cursor, (uint32_t)position) == tokens[i];
        position += rdk_donor_span(tokens[i]);
    }
    making m = {tokens, same, position <= UINT32_MAX ? token_count : 0, {delta, delta + capacity, false}, 0};
    write_steps(&m);
    free(same);
    *copied = m.copied;
    return m.out.full ? RDK_E_OUTPUT_FULL : m.out.at - delta;
}
