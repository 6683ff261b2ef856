#include "zlib_chains.h"

void rdk_zlib_restart(rdk_zlib_chains *chains, uint32_t origin, uint32_t hash_bits) {
    memset(chains->newest, 0, sizeof chains->newest);
    chains->origin = origin;
    chains->hash_shift =
        (hash_bits + RDK_MATCH_MIN - 1) / RDK_MATCH_MIN; /* after three bytes the first one is shifted out */
    chains->hash_mask = (1u << hash_bits) - 1;
}

static void move_down(uint16_t *entries, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) entries[i] = entries[i] > RDK_WINDOW ? entries[i] - RDK_WINDOW : 0;
}

void rdk_zlib_slide(rdk_zlib_chains *chains) {
    move_down(chains->newest, chains->hash_mask + 1);
    move_down(chains->older, RDK_WINDOW);
    chains->origin += RDK_WINDOW;
}
