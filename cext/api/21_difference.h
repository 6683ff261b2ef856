/* New bytes as differences from old ones that they resemble without being the same: compiled code whose addresses
 * moved. After bsdiff (Colin Percival, "Naive differences of executable code", 2003), with a table of seeds in place of
 * its suffix array. */

enum {
    RDK_DIFFERENCE_BYTES_MAX =
        67108864, /* old or new bytes of one call: 64 MiB, so that a table entry has bits left for a tag */
    RDK_DIFFERENCE_COLUMNS = 7
};

/* The next `near` new bytes resemble the old ones at `source`; the `literal` bytes after them resemble nothing. */
typedef struct {
    uint32_t source, near, literal;
} rdk_difference;

/* Describes all new bytes by differences, none of them empty. Returns their number. RDK_E_OUTPUT_FULL: `capacity` does
 * not do, or too little resembles the old bytes: searches failed for half of the new bytes passed and `search_budget`
 * more. RDK_E_ARGUMENT: more than RDK_DIFFERENCE_BYTES_MAX. Allocates four bytes for every three old ones, and at most
 * 16 MiB. */
int64_t rdk_difference_find(const uint8_t *old, uint64_t old_length, const uint8_t *new_bytes, uint64_t new_length,
                            uint64_t search_budget, rdk_difference *out, size_t capacity);

/* Differences are stored as RDK_DIFFERENCE_COLUMNS columns, in this order; lengths and moves are LEB128:
 *   lengths of near bytes; lengths of literals; moves of the source from the end of the one before, zigzag;
 *   of all near bytes, one after the other: lengths of runs that are unchanged, lengths of the changed run after each,
 * what is added (modulo 256) to each changed byte; the literals. */
typedef struct {
    uint8_t *bytes;
    uint64_t capacity;
    uint64_t length; /* answered */
} rdk_difference_column;

/* Writes the columns of what rdk_difference_find said of the same bytes. RDK_E_OUTPUT_FULL: a column is too small;
 * every number needs ten free bytes. RDK_E_ARGUMENT: a difference leaves the old or the new bytes. */
int rdk_difference_write(const uint8_t *old, uint64_t old_length, const uint8_t *new_bytes, uint64_t new_length,
                         const rdk_difference *differences, size_t count, rdk_difference_column *columns);

/* Reads new bytes out of columns and old bytes, as much as it is asked for. Set columns, lengths, old and old_length;
 * the rest is 0. */
typedef struct {
    const uint8_t *columns[7];
    uint64_t lengths[7];
    const uint8_t *old;
    uint64_t old_length;
    uint64_t at[7];                        /* bytes of each column that were read */
    uint64_t source;                       /* of the next near byte */
    uint64_t near, literal, same, changed; /* what is left of the present runs */
} rdk_difference_reader;

/* Writes the next `length` new bytes to `out`. RDK_E_CORRUPT: the columns end before, contradict one another, or leave
 * the old bytes. */
int rdk_difference_read(rdk_difference_reader *reader, uint8_t *out, uint64_t length);
