#include "go_reuse.h"

#include "token_delta.h"

/* Searches from the token boundary `position` up to the first one at `goal` or behind it, which it returns. Everything
 * before *filled is in the chains; what lies between is inserted first. */
static uint32_t search_to(rdk_run *run, go_chains *chains, const go_level *level, const go_input *in, uint32_t *filled,
                          uint32_t position, uint32_t goal) {
    if (position - *filled > RDK_WINDOW) *filled = position - RDK_WINDOW;
    if (*filled < position)
        go_insert_all(chains, run->plain, *filled, position < in->insert_stop ? position : in->insert_stop);
    while (position < goal && go_deferred_match(run, chains, level, in, &position)) {}
    *filled = position;
    return position;
}

/* ---- tokens that certainly stay -------------------------------------------------------------------------------- */

/* From SHORT_FROM on in a window, after a slide, a search reaches back to the buffer's beginning and no further: the
 * UNREACHED positions before it would be in the window of an encoder whose buffer began elsewhere. */
enum { SHORT_FROM = GO_SLIDE_AT - RDK_WINDOW, UNREACHED = RDK_WINDOW - SHORT_FROM };

/* Where the buffers of both encoders begin after their next slides. */
typedef struct beginnings {
    int64_t newer, donor;
} beginnings;

static int64_t beginning_after(uint64_t offset, uint32_t position) {
    return (int64_t)position - (int64_t)(offset & (RDK_WINDOW - 1));
}

/* Taints what one of both encoders did not reach; returns the next beginning. */
static inline int64_t pass_slide(rdk_reuse *r, int64_t beginning, uint32_t position) {
    while (position >= beginning + SHORT_FROM) {
        rdk_taint_range(r, beginning - UNREACHED, beginning, go_hash_at);
        beginning += RDK_WINDOW;
    }
    return beginning;
}

/* Tokens before the position that is returned need no closer look than whether the donor has one there. */
static uint32_t calm_until(const rdk_reuse *r, const beginnings *next, uint32_t position) {
    int64_t slide = (next->newer < next->donor ? next->newer : next->donor) + SHORT_FROM - 1;
    int64_t stop = (int64_t)r->differs - RDK_REACH_MAX + 1;
    if (slide < stop) stop = slide;
    return stop < 0 || rdk_in_window(r->last_marked, position) ? 0 : (uint32_t)stop;
}

/* Tells whether no byte that differs lies within the reach of the group of the token at `position`, nor echoes there.
 */
static inline bool is_certain(rdk_reuse *r, uint32_t position) {
    rdk_see_group(r);
    return r->group_reach <= r->differs && !rdk_has_echo(r, position, (uint32_t)r->group_reach);
}

/* Takes over the donor's tokens from the boundary `position` on while they are certain; returns the boundary reached.
 */
static uint32_t take_over(rdk_run *run, go_reusing *state, beginnings *next, uint32_t position) {
    rdk_reuse *r = &state->reuse;
    const rdk_donor_range *donor = r->donor;
    bool origin = r->begin == 0 && run->offset == 0 && donor->offset == 0; /* nothing lies before both streams */
    uint32_t calm = 0, untainted = UINT32_MAX, certain = 0;
    if ((!origin && position < r->begin + RDK_WINDOW) || position + RDK_REACH_MAX > r->end ||
        !rdk_donor_has_boundary(r, position))
        return position;
    while (r->token < donor->token_count) {
        rdk_token token = donor->tokens[r->token];
        if (token & RDK_STORED_SPAN) break;
        if (position >= calm) {
            rdk_mark_until(r, position, go_hash_at); /* first, because it forgets what was marked too long ago */
            next->newer = pass_slide(r, next->newer, position + 1);
            next->donor = pass_slide(r, next->donor, position + 1);
            calm = calm_until(r, next, position);
        }
        if (position >= calm) {
            if (r->token >= certain) {
                if (!is_certain(r, position)) break;
                certain = r->group_stop;
            }
            if (position != untainted && rdk_is_tainted(r, position, go_hash_at)) break;
            untainted = position + 1; /* if this token is a literal, the next one asks for the same position again */
            if (rdk_is_tainted(r, untainted, go_hash_at)) break;
        }
        uint32_t reached = position + rdk_token_span(token);
        go_slide(&state->chains, run, position + 1);
        r->token++;
        r->at += reached - position;
        position = rdk_emit(run, position, token, reached);
        if (position != reached || rdk_done(run)) break;
    }
    return position;
}

void rdk_go_reuse_tokens(rdk_run *run, go_reusing *state, const go_level *level) {
    const rdk_donor_range *donor = run->donors, *stop = donor + run->donor_count;
    uint32_t position = run->start, filled = run->begin;
    go_input in = go_input_at(run, position);
    beginnings next = {0, 0};
    bool aligned = false, more = true;
    while (more && !rdk_done(run)) {
        for (; donor < stop && position >= donor->end; donor++) aligned = false;
        if (!aligned && donor < stop && position >= donor->begin) {
            rdk_reuse_begin(&state->reuse, donor, run->plain);
            next.newer = beginning_after(run->offset + position, position);
            next.donor = beginning_after(donor->offset + (position - donor->begin), position);
            aligned = true;
        }
        if (aligned) position = take_over(run, state, &next, position);
        if (rdk_done(run)) return;
        uint32_t from = position;
        position = search_to(run, &state->chains, level, &in, &filled, position, position + 1);
        more = position > from;
    }
}

/* ---- tokens that a delta says stay ----------------------------------------------------------------------------- */

/* Emits a token that is known. RDK_NO_TOKEN: the delta is wrong. */
static void take(rdk_run *run, go_chains *chains, uint32_t *position, rdk_token token) {
    if (token == RDK_NO_TOKEN) {
        rdk_reject(run);
        return;
    }
    go_slide(chains, run, *position + 1);
    *position = rdk_emit(run, *position, token, *position + rdk_token_span(token));
}

/* Emits at most `count` donor tokens from *position on, where rdk_donor_token_at has found one, while none of them
 * takes the slow path; returns how many. */
static inline uint32_t copy_tokens(rdk_run *run, rdk_donor_cursor *cursor, uint32_t *position, uint32_t count) {
    const rdk_donor_range *range = cursor->range;
    const rdk_token *in = range->tokens + cursor->token, *stop = range->tokens + range->token_count, *last = in;
    uint32_t at = *position, end = range->end;
    if (stop - in > (ptrdiff_t)count) stop = in + count;
    if (stop - in > run->alarm - run->next) stop = in + (run->alarm - run->next);
    for (; last < stop && at < end; last++) {
        rdk_token token = *last;
        uint32_t reached = at + rdk_token_span(token);
        if ((token & RDK_STORED_SPAN) || reached > run->guard) break;
        *run->next++ = token;
        at = reached;
    }
    cursor->token += (size_t)(last - in);
    cursor->at += at - *position;
    *position = at;
    return (uint32_t)(last - in);
}

void rdk_go_follow_delta(rdk_run *run, go_reusing *state, const go_level *level) {
    go_chains *chains = &state->chains;
    rdk_reader steps = {run->delta, run->delta + run->delta_length, false};
    rdk_donor_cursor cursor = {.range = run->donors, .stop = run->donors + run->donor_count};
    uint32_t position = run->start, filled = run->begin;
    go_input in = go_input_at(run, position);
    while (!rdk_done(run) && position < run->stop) {
        rdk_step step = rdk_next_step(&steps, run->stop - position);
        uint32_t left = step.count, from = position;
        if (left == 0) rdk_reject(run);
        switch (step.kind) {
        case RDK_STEP_COPY:
            while (left && !rdk_done(run)) {
                rdk_token token = rdk_donor_token_at(&cursor, position);
                uint32_t copied = token == RDK_NO_TOKEN ? 0 : copy_tokens(run, &cursor, &position, left);
                if (copied == 0) take(run, chains, &position, token);
                left -= copied ? copied : 1;
            }
            break;
        case RDK_STEP_INSERT:
            for (; left && !rdk_done(run); left--)
                take(run, chains, &position, rdk_next_inserted(&steps, run->plain[position]));
            break;
        default:
            position = search_to(run, chains, level, &in, &filled, position,
                                 left < run->stop - position ? position + left : run->stop);
            if (position == from) return;
        }
    }
}
